// A bar on a terminal's last line, redrawn in place; elsewhere a line now and then, so that a log stays readable.
import type { World } from './world.ts';

const BAR_CELLS = 24;
/** Without a terminal, a line for each of these many percent. */
const LINE_EVERY_PERCENT = 10;
const MAX_COLUMNS = 200;

export interface ProgressBar {
  /** @param percent 0 to 100 @param words what stands beside the bar */
  show(percent: number, words: string): void;
  /** Leaves the last line standing. */
  end(): void;
}

export function progressBar(world: Pick<World, 'stderr'>): ProgressBar {
  const { stderr } = world;
  let said = -Infinity;
  let open = false;
  return {
    show(percent, words) {
      const number = `${Math.min(100, Math.max(0, percent)).toFixed(1).padStart(5)} %`;
      if (stderr.isTTY === true) {
        const full = Math.round((percent / 100) * BAR_CELLS);
        const bar = '█'.repeat(full) + '░'.repeat(Math.max(0, BAR_CELLS - full));
        const columns = 'columns' in stderr && typeof stderr.columns === 'number' ? stderr.columns : MAX_COLUMNS;
        // One line only: a longer one would wrap and stay on the screen.
        stderr.write(`\r\u001b[2K${`${bar} ${number}  ${words}`.slice(0, columns - 1)}`);
        open = true;
        return;
      }
      if (percent < 100 && percent - said < LINE_EVERY_PERCENT) return;
      if (percent === said) return;
      said = percent;
      stderr.write(`${number}  ${words}\n`);
    },
    end() {
      if (open) stderr.write('\n');
      open = false;
    },
  };
}
