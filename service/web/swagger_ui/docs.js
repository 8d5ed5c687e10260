// A file of its own, since the policy of the pages allows no script inside them.
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
follow();
dark.addEventListener("change", follow);
SwaggerUIBundle({ url: "/openapi.json", dom_id: "#page", validatorUrl: null });
