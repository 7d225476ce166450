// Carries a WebAuthn exchange between the page and the browser's authenticator API.
"use strict";

const toBytes = (text) =>
  Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));

const toText = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

function decode(options) {
  options.challenge = toBytes(options.challenge);
  if (options.user) options.user.id = toBytes(options.user.id);
  for (const list of [options.allowCredentials, options.excludeCredentials]) {
    for (const one of list || []) one.id = toBytes(one.id);
  }
  return options;
}

function encode(credential) {
  const answer = credential.response;
  const response = { clientDataJSON: toText(answer.clientDataJSON) };
  for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (answer[name]) response[name] = toText(answer[name]);
  }
  return JSON.stringify({
    id: credential.id,
    rawId: toText(credential.rawId),
    type: credential.type,
    clientExtensionResults: {},
    response,
  });
}

async function exchange(form) {
  const problem = form.querySelector("[data-problem]");
  problem.hidden = true;
  const publicKey = decode(JSON.parse(form.dataset.options));
  try {
    const credential = form.dataset.webauthn === "create"
      ? await navigator.credentials.create({ publicKey })
      : await navigator.credentials.get({ publicKey });
    const field = document.createElement("input");
    field.type = "hidden";
    field.name = "response";
    field.value = encode(credential);
    form.append(field);
    form.submit();
  } catch (error) {
    problem.textContent = error.name === "InvalidStateError"
      ? form.dataset.known
      : form.dataset.failed;
    problem.hidden = false;
    form.querySelector("button").textContent = form.dataset.again;
  }
}

for (const form of document.querySelectorAll("[data-webauthn]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    exchange(form);
  });
  exchange(form);
}
