"""A report as one HTML page: `page_data` says what it shows, `render` how, and neither knows the other's part."""

from sweeper.analysis.html.data import page_data
from sweeper.analysis.html.render import render

__all__ = ["page_data", "render"]
