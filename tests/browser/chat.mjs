// Two tabs chat. Usage: node chat.mjs FOLDER CHROMIUM SERVER [ARGUMENT…]
//
// FOLDER holds node_modules/playwright-core and takes the screenshots. The server is started,
// killed and started again here. Every wait is for something that can be seen on the page, ten
// seconds at most; the first that does not come ends the run with status 1.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [folder, executablePath, ...command] = process.argv.slice(2);
const { chromium } = createRequire(`${folder}/`)("playwright-core");

let server = null;
let faults = []; // what the browser complained about
let serverIsAway = false;

async function startServer(listen) {
  const [program, ...args] = command;
  server = spawn(program, [...args, "--listen", listen], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await Promise.race([
    once(createInterface(server.stdout), "line"),
    once(server, "exit").then(([code]) => assert.fail(`the server left with ${code}`)),
  ]);
  const [address] = /[\d.]+:\d+/.exec(line) ?? assert.fail(`no address in ${line}`);
  return address;
}

async function killServer() {
  const exit = once(server, "exit");
  server.kill("SIGKILL");
  await exit;
}

async function openTab(context, url) {
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  page.on("pageerror", (error) => faults.push(`error: ${error}`));
  page.on("console", (message) => {
    if (message.type() === "error" && !serverIsAway) faults.push(`console: ${message.text()}`);
  });
  page.on("response", (response) => {
    if (response.status() >= 400) faults.push(`${response.status()} for ${response.url()}`);
  });
  await page.goto(url);
  await state(page, "connected");
  return page;
}

const state = (page, text) => page.locator("#state", { hasText: new RegExp(`^${text}$`) }).waitFor();
const name = async (page) => (await page.locator("#me").textContent()).replace("you are ", "");
const scrolled = (page) => page.locator("#scroll").evaluate((log) => log.scrollTop);

// What people do: type and press Enter.
async function say(page, text) {
  await page.locator("#text").fill(text);
  await page.keyboard.press("Enter");
}

// Waits until somebody's text is on the page, and gives its line.
async function hears(page, text) {
  const line = page.locator(".line", { has: page.getByText(text, { exact: true }) }).last();
  await line.waitFor();
  return line;
}

async function step(title, check) {
  await check();
  assert.deepEqual(faults, [], title);
  console.log(`ok  ${title}`);
}

async function run() {
  const address = await startServer("127.0.0.1:0");
  const url = `http://${address}/`;
  const browser = await chromium.launch({
    executablePath,
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  console.log(`Chromium ${browser.version()}`);
  const context = await browser.newContext({ viewport: { width: 1000, height: 700 } });
  const anna = await openTab(context, url);
  const bert = await openTab(context, url);

  await step("two tabs chat", async () => {
    assert.notEqual(await name(anna), await name(bert));
    await say(anna, "Hello, is anybody here?");
    assert.equal(await anna.locator("#text").inputValue(), "", "cleared after sending");
    const heard = await hears(bert, "Hello, is anybody here?");
    assert.equal(await heard.locator(".name").textContent(), await name(anna));
    assert.ok(!(await heard.getAttribute("class")).includes("own"));
    const own = await hears(anna, "Hello, is anybody here?");
    assert.ok((await own.getAttribute("class")).includes("own"), "one's own line is told apart");
    await say(bert, "I am. Grüße, 你好, שלום 👩‍🚀");
    await hears(anna, "I am. Grüße, 你好, שלום 👩‍🚀");
  });

  await step("markup arrives as text", async () => {
    const markup = "<img src=x onerror=\"document.title='broken in'\">";
    await say(anna, markup);
    for (const page of [anna, bert]) {
      await hears(page, markup);
      assert.equal(await page.locator("#log img").count(), 0);
      assert.notEqual(await page.title(), "broken in");
    }
  });

  await step("a name is taken and shown", async () => {
    await say(bert, "/nick Bert");
    await bert.locator("#me", { hasText: "you are Bert" }).waitFor();
    await anna.locator(".notice", { hasText: "is now Bert" }).waitFor();
    await say(bert, "It's me");
    const heard = await hears(anna, "It's me");
    assert.equal(await heard.locator(".name").textContent(), "Bert");
  });

  await step("a name is kept when the page is loaded anew, and in another tab", async () => {
    await bert.reload();
    await bert.locator("#me", { hasText: /^you are Bert$/ }).waitFor();
    const second = await openTab(context, url);
    await second.locator("#me", { hasText: /^you are Bert$/ }).waitFor();
    await second.close();
    const stranger = await browser.newContext();
    const carl = await openTab(stranger, url);
    await say(carl, "/nick Bert");
    await carl.locator(".notice", { hasText: "somebody is called Bert already" }).waitFor();
    assert.match(await name(carl), /^user\d+$/);
    await stranger.close();
  });

  await step("the page's address chooses the room, and /join changes it", async () => {
    const carl = await openTab(context, `${url}?room=tea`);
    assert.equal(await carl.locator("#room").textContent(), "tea");
    await say(anna, "Only in the lobby");
    await hears(anna, "Only in the lobby");
    await say(carl, "Only in the tea room");
    await hears(carl, "Only in the tea room");
    assert.equal(await carl.getByText("Only in the lobby").count(), 0);
    assert.equal(await anna.getByText("Only in the tea room").count(), 0);
    await say(carl, "/join lobby");
    await carl.waitForURL(/room=lobby/);
    await hears(carl, "Only in the lobby");
    await carl.close();
  });

  await step("who comes later sees what was said, marked", async () => {
    const carl = await openTab(context, url);
    const earlier = await hears(carl, "Only in the lobby");
    assert.ok((await earlier.getAttribute("class")).includes("earlier"));
    await carl.close();
  });

  await step("a reader who scrolled up stays there", async () => {
    for (let line = 0; line < 40; line++) await say(anna, `line ${line}`);
    await hears(bert, "line 39");
    await bert.locator("#scroll").evaluate((log) => { log.scrollTop = 100; });
    await say(anna, "Something new");
    await hears(bert, "Something new");
    assert.equal(await scrolled(bert), 100);
    await bert.locator("#down").click();
    assert.ok(await scrolled(bert) > 100);
    await bert.locator("#down").waitFor({ state: "hidden" });
  });

  await step("the page stays bounded", async () => {
    // Two plain sockets beside the page, as one may not say so much in a moment.
    await bert.evaluate(async () => {
      const flood = (from) => new Promise((done) => {
        const socket = new WebSocket(location.origin.replace("http", "ws") + "/chat");
        socket.onopen = () => {
          for (let n = 0; n < 300; n++) socket.send(`flood ${from} ${n}`);
          socket.send("/quit");
        };
        socket.onclose = done;
      });
      await Promise.all([flood(1), flood(2)]);
    });
    await say(bert, "After the flood");
    await hears(anna, "After the flood");
    assert.equal(await anna.locator("#log > *").count(), 500);
  });

  await step("what is typed while the server is away stays, and the page comes back", async () => {
    serverIsAway = true;
    await killServer();
    await state(anna, "not connected|reconnecting…");
    await say(anna, "Kept while you were away");
    assert.equal(await anna.locator("#text").inputValue(), "Kept while you were away");
    await startServer(address);
    for (const page of [anna, bert]) await state(page, "connected");
    serverIsAway = false;
    assert.equal(await anna.getByText("After the flood", { exact: true }).count(), 1,
      "what was on the page still is");
    assert.equal(await anna.locator("#text").inputValue(), "Kept while you were away");
    await anna.locator("#text").press("Enter");
    await hears(bert, "Kept while you were away");
    await bert.locator("#me", { hasText: "you are Bert" }).waitFor();
  });

  await step("/quit leaves, and a button comes back", async () => {
    await say(bert, "/quit");
    await state(bert, "left");
    await bert.getByRole("button", { name: "Connect again" }).click();
    await state(bert, "connected");
    assert.equal(await bert.getByText("Kept while you were away", { exact: true }).count(), 1,
      "what is on the page already is not shown again");
  });

  await step("a phone shows it without scrolling sideways, in light and dark", async () => {
    for (const colorScheme of ["light", "dark"]) {
      const phone = await browser.newContext({
        viewport: { width: 360, height: 640 }, colorScheme, isMobile: true, hasTouch: true,
      });
      const page = await openTab(phone, url);
      await say(page, `A word that is longer than the phone is wide: ${"x".repeat(120)}`);
      await say(page, "/help");
      await page.locator(".notice.block").waitFor();
      const wide = () => [document.documentElement, document.getElementById("scroll")]
        .some((element) => element.scrollWidth > element.clientWidth);
      assert.equal(await page.evaluate(wide), false);
      assert.ok(await page.locator("#text").isVisible());
      await page.screenshot({ path: `${folder}/phone-${colorScheme}.png` });
      await anna.emulateMedia({ colorScheme });
      await anna.screenshot({ path: `${folder}/desk-${colorScheme}.png` });
      await phone.close();
    }
  });

  await browser.close();
}

try {
  await run();
} catch (error) {
  console.error(`FAILED: ${error.stack ?? error}`);
  process.exitCode = 1;
} finally {
  server?.kill("SIGKILL");
}
process.exit();
