// The debugger, by Visual Studio Code's own client for tests of debug adapters.
// node client.js MODULES PORT FILE: prints "well" when everything is as it should be.
const assert = require("assert");
const { DebugClient } = require(process.argv[2] + "/@vscode/debugadapter-testsupport");

async function main(port, file) {
  const client = new DebugClient("node", "", "tally");
  await client.start(port);
  await Promise.all([
    client.waitForEvent("initialized").then(async () => {
      const set = await client.setBreakpointsRequest({
        source: { path: file },
        breakpoints: [{ line: 9 }],
      });
      assert.deepStrictEqual(set.body.breakpoints, [{ verified: true, line: 9 }]);
      return client.configurationDoneRequest();
    }),
    client.launch({}),
    client.assertStoppedLocation("breakpoint", { path: file, line: 9 }),
  ]);
  await Promise.all([
    client.nextRequest({ threadId: 1 }),
    client.assertStoppedLocation("step", { path: file, line: 10 }),
  ]);
  await Promise.all([
    client.stepBackRequest({ threadId: 1 }),
    client.assertStoppedLocation("step", { path: file, line: 9 }),
  ]);
  await Promise.all([
    client.continueRequest({ threadId: 1 }),
    client.assertStoppedLocation("breakpoint", { path: file, line: 9 }),
  ]);
  await Promise.all([
    client.reverseContinueRequest({ threadId: 1 }),
    client.assertStoppedLocation("breakpoint", { path: file, line: 9 }),
  ]);
  const frames = (await client.stackTraceRequest({ threadId: 1 })).body.stackFrames;
  assert.strictEqual(frames[0].name, "add");
  const scopes = (await client.scopesRequest({ frameId: frames[0].id })).body.scopes;
  const found = (await client.variablesRequest({
    variablesReference: scopes[0].variablesReference,
  })).body.variables;
  assert.deepStrictEqual(found.map((one) => [one.name, one.value]), [["a", "0"], ["b", "3"]]);
  // A condition and a log point, as the editor sends them.
  await client.setBreakpointsRequest({
    source: { path: file },
    breakpoints: [
      { line: 10, condition: "result == 18" },
      { line: 20, logMessage: "total {total}" },
    ],
  });
  await Promise.all([
    client.assertOutput("console", "total 3\ntotal 9\n"),
    client.continueRequest({ threadId: 1 }),
    client.assertStoppedLocation("breakpoint", { path: file, line: 10 }),
  ]);
  const stack = (await client.stackTraceRequest({ threadId: 1 })).body.stackFrames;
  const asked = await client.evaluateRequest({
    expression: "[a, {'b': b}]", frameId: stack[0].id,
  });
  assert.strictEqual(asked.body.result, "[9, {'b': 9}]");
  const parts = (await client.variablesRequest({
    variablesReference: asked.body.variablesReference,
  })).body.variables;
  assert.deepStrictEqual(parts.map((one) => one.value), ["9", "{'b': 9}"]);
  await client.disconnectRequest();
  console.log("well");
  process.exit(0);
}

main(Number(process.argv[3]), process.argv[4]).catch((error) => {
  console.error(error);
  process.exit(1);
});
