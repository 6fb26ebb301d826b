// Waiting for a condition, never for a time.

const POLL_MS = 10;

/** Tries until `check` throws no more; after `timeoutMs` its last error is the test's. What costs the other side something is asked less often. */
export async function eventually(
  check: () => void | Promise<void>,
  timeoutMs = 15_000,
  pollMs = POLL_MS,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    try {
      await check();
      return;
    } catch (error) {
      if (performance.now() > deadline) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}
