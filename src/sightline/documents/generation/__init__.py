"""Questions made from pages: offline from their text, or by a model behind an endpoint."""
