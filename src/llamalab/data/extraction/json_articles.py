"""Articles kept in JSON: an object or list of articles in a file, or one article a line."""

import json

from llamalab.common.errors import UserError
from llamalab.data.source import Extract, Record
from llamalab.data.text import decode, tidy


class JsonArticles:
    """One text for each article.

    Args:
        text_key: the key that holds an article's text.
        id_key: the key that identifies it within its file.
    """

    def __init__(self, text_key: str, id_key: str) -> None:
        self.text_key, self.id_key = text_key, id_key

    def __call__(self, record: Record) -> list[Extract]:
        try:
            content = json.loads(decode(record.data))
        except json.JSONDecodeError as error:
            raise UserError(f"{record.name}: not valid JSON ({error})") from None
        if isinstance(content, dict) and self.text_key in content:
            articles = [content]
        else:
            articles = list(content.values()) if isinstance(content, dict) else content
        extracts = []
        for article in articles:
            try:
                text, name = article[self.text_key], article[self.id_key]
            except (KeyError, TypeError):
                raise UserError(
                    f"{record.name}: an article has no '{self.text_key}' or no '{self.id_key}'; "
                    "correct text_key or id_key of the source's extractor"
                ) from None
            if not isinstance(text, str):
                raise UserError(f"{record.name}: '{self.text_key}' of article '{name}' is not a text")
            extracts.append(Extract(f"{record.name}#{name}", tidy(text), {}))
        return extracts
