// A failing test that stands still, by Visual Studio Code's own client for tests of debug adapters.
// node failure.js MODULES PORT FIRMWARE TEST: prints "well" when everything is as it should be.
const assert = require("assert");
const { DebugClient } = require(process.argv[2] + "/@vscode/debugadapter-testsupport");

async function main(port, firmware, test) {
  const client = new DebugClient("node", "", "tally");
  await client.start(port);
  const [, stopped] = await Promise.all([
    client.waitForEvent("initialized").then(() => client.configurationDoneRequest()),
    client.waitForEvent("stopped"),
    client.initializeRequest().then(() => client.attachRequest({})),
  ]);
  assert.strictEqual(stopped.body.reason, "exception");
  assert.match(stopped.body.text, /AssertionError: three turns/);
  let frames = (await client.stackTraceRequest({ threadId: 1 })).body.stackFrames;
  assert.deepStrictEqual(
    [frames[0].source.path, frames[frames.length - 1].source.path],
    [firmware, test],
  );
  const value = async (name, frameId) =>
    (await client.evaluateRequest({ expression: name, frameId })).body.result;
  const last = Number(await value("turns", frames[0].id));
  const back = async () => {
    await Promise.all([client.stepBackRequest({ threadId: 1 }), client.waitForEvent("stopped")]);
    return (await client.stackTraceRequest({ threadId: 1 })).body.stackFrames;
  };
  while (Number(await value("turns", frames[0].id)) === last) frames = await back();
  assert.strictEqual(Number(await value("turns", frames[0].id)), last - 1);
  const again = await Promise.all([
    client.continueRequest({ threadId: 1 }),
    client.waitForEvent("stopped"),
  ]);
  assert.match(again[1].body.text, /AssertionError: three turns/);
  await client.disconnectRequest();
  console.log("well");
  process.exit(0);
}

main(Number(process.argv[3]), process.argv[4], process.argv[5]).catch((error) => {
  console.error(error);
  process.exit(1);
});
