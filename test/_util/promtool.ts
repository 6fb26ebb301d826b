// Prometheus' own tool, where this machine has it (Debian: prometheus).
import { spawn, spawnSync } from 'node:child_process';

export const hasPromtool = spawnSync('promtool', ['--version']).status === 0;
if (!hasPromtool) console.warn('promtool is not installed (Debian: prometheus): what only it can judge is skipped');

/** What it printed, and whether it was content. */
export async function promtool(...args: string[]): Promise<{ readonly ok: boolean; readonly output: string }> {
  const child = spawn('promtool', args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (output += String(text)));
  const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).once('close', resolve));
  return { ok: code === 0, output };
}
