// The page of a new run: checks what is typed with the loader of scenarios, and starts the run.
const form = document.querySelector("#new");
const text = document.querySelector("#text");
const verdict = document.querySelector("#verdict");
const fields = [...form.querySelectorAll("[data-key]")];
const WAIT_MS = 300;

const content = () => ({
  text: text.value,
  based_on: form.dataset.basedOn,
  changes: Object.fromEntries(fields.filter((field) => field.value !== "").map((field) => [field.dataset.key, field.value])),
});
const post = async (path) => {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(content()),
  });
  const told = await answer.json();
  return { ok: answer.ok && !told.error, ...told };
};
const say = (words, isGood) => {
  verdict.textContent = words;
  verdict.className = isGood ? "good" : "bad";
  text.setAttribute("aria-invalid", String(!isGood));
};

let asked = 0;
const check = async () => {
  asked += 1;
  const mine = asked;
  try {
    const told = await post("/new/check");
    if (mine === asked) say(told.ok ? told.told : told.error, told.ok);
  } catch {
    if (mine === asked) say("The server does not answer.", false);
  }
};
let timer = 0;
form.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(check, WAIT_MS);
});
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  clearTimeout(timer);
  asked += 1;
  try {
    const told = await post("/new/start");
    if (told.ok) location.assign(told.started);
    else say(told.error, false);
  } catch {
    say("The server does not answer.", false);
  }
});
check();
