"""What is not of any slice: health, the OpenAPI document, the page that tries it."""
