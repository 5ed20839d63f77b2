"""Results to look at: the contact sheet, and the stylesheet that the page and the album share."""
