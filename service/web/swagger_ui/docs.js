// A file of its own, since the policy of the pages allows no script inside them.
SwaggerUIBundle({ url: "/openapi.json", dom_id: "#page", validatorUrl: null });
