"""For tests that start a pytest of their own.

Loading the plugins of hypothesis, schemathesis and anyio takes three quarters of a short run. Tests
that use these libraries do so without their plugins, too.
"""

LEAN = ("-p", "no:schemathesis", "-p", "no:hypothesispytest", "-p", "no:anyio")
