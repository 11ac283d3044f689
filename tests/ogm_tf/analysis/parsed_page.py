"""A page as what it is made of: its elements and its text."""

import html.parser


class Page(html.parser.HTMLParser):
    """Collects a page's elements and text."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.text += " " * (tag in ("td", "th"))

    def handle_data(self, data):
        self.text += data

    @property
    def words(self):
        """The text with single spaces."""
        return " ".join(self.text.replace("\N{NO-BREAK SPACE}", " ").split())
