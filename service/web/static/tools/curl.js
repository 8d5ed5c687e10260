// Calls as curl commands for a shell.

// curl asks for the password of the page itself. Other secrets stand in variables: they belong into no shell's history.
const SECRETS = { password: "PASSWORD", token: "TOKEN" };

export function curl(method, path, { json, form, token } = {}) {
  const words = ["curl"];
  if (method !== (json || form ? "POST" : "GET")) words.push("-X", method);
  if (token) words.push("-H", '"Authorization: Bearer $TOKEN"');
  else if (token === undefined) words.push("-u", quoted(document.body.dataset.user));
  if (json) words.push("-H", quoted("Content-Type: application/json"), "-d", quotedJson(json));
  for (const [name, value] of form ?? []) {
    if (name in SECRETS) words.push("-F", `"${name}=$${SECRETS[name]}"`);
    else words.push("-F", quoted(value instanceof File ? `${name}=@"${value.name.replace(/["\\]/g, "\\$&")}"` : `${name}=${value}`));
  }
  words.push(quoted(new URL(path, location.href).href));
  return words.join(" ");
}

// A secret leaves the quotes of the shell, so that its variable is replaced.
function quotedJson(json) {
  const hidden = Object.fromEntries(Object.entries(json).map(([name, value]) => [name, name in SECRETS ? `\0${name}` : value]));
  return quoted(JSON.stringify(hidden)).replace(/\\u0000(\w+)/g, (_, name) => `'"$${SECRETS[name]}"'`);
}

function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
