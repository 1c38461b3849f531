"""The description of every route, as a document and as a page."""
