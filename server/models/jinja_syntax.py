"""The tags that chat templates use beside those of Jinja itself."""

from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser


class Generation(Extension):
    """`{% generation %}…{% endgeneration %}`: what a model said, marked for training. Only
    the body counts here."""

    tags = {"generation"}  # noqa: RUF012 - so declared by the base class

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


EXTENSIONS = (loopcontrols, Generation)
