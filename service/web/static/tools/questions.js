// Questions: new ones are fetched and stored; the cards show the latest.

import { Card, field } from "./card.js";
import { h } from "../dom.js";
import { t } from "../messages.js";

export function questionsCard(signal) {
  const count = field(t("how-many"), { type: "number", min: 1, max: 100, value: 3, required: true });
  const input = count.querySelector("input");
  const form = h(
    "form",
    { class: "row", onsubmit: (event) => (event.preventDefault(), card.run(() => fetchQuestions(card, input.valueAsNumber))) },
    count,
    h("button", { class: "button primary" }, t("fetch-questions")),
  );
  const card = new Card(signal, { id: "questions", title: t("questions-title"), about: t("questions-about"), parts: [form] });
  return card;
}

async function fetchQuestions(card, wanted) {
  const previous = await card.call("POST", "/questions", { json: { questions_num: wanted } });
  const { items } = await card.call("GET", `/questions?limit=${wanted}`);
  return [
    h("p", {}, previous.id ? t("previous-question", { question: previous.question }) : t("no-previous-question")),
    h("ul", { class: "quiz", role: "list" }, items.map(quizCard)),
  ];
}

function quizCard({ question, answer, category }) {
  return h("li", {}, h("details", {}, h("summary", { lang: "en" }, question), h("p", { lang: "en" }, answer), category && h("small", { lang: "en" }, category)));
}
