// Walks through the page in Firefox: a photo is sent and shown with its faces, then each view opens without an error.
// Arguments: the service's address, its password, a photo.

import puppeteer from "puppeteer-core"; // it drives Firefox by WebDriver BiDi, without a driver beside it

const [address, password, photo] = process.argv.slice(2);
const faults = [];

const browser = await puppeteer.launch({ browser: "firefox", executablePath: "/usr/bin/firefox-esr", headless: true });
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(60_000);
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => message.type() === "error" && faults.push(message.text()));
  // Firefox asks without credentials first, and sends them when it is told to.
  const isRefused = (response) => response.status() >= 400 && !(response.status() === 401 && response.url() === `${address}/tasks`);
  page.on("response", (response) => isRefused(response) && faults.push(`${response.status()} ${response.url()}`));
  await page.authenticate({ username: "admin", password });

  await page.goto(`${address}/tasks`);
  const input = await page.waitForSelector("input[accept]");
  await input.uploadFile(photo);
  await page.waitForSelector(".head .status.completed");
  await page.waitForSelector(".card .overlay");
  const task = page.url();
  if (!task.includes("/tasks/")) faults.push(`the page of the task is at ${task}`);

  await page.click(".card .photo");
  await page.waitForSelector("dialog.viewer[open]");
  await page.keyboard.press("Escape");
  await page.waitForSelector("dialog.viewer[open]", { hidden: true });

  for (const path of ["/tasks", "/tools", `${new URL(task).pathname}/faces`]) {
    await page.goto(address + path);
    await page.waitForSelector("h1");
  }
  await page.waitForSelector(".wall img");
} finally {
  await browser.close();
}
console.log(JSON.stringify(faults));
