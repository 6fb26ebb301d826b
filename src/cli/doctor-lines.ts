// What `trueup doctor book` found.
import { EXIT, printLine, type World } from './world.ts';
import { toPlain } from './plain.ts';

/** TODO shape */
export async function printDoctorBook(world: World, report: unknown, json: boolean): Promise<number> {
  await printLine(world, JSON.stringify(toPlain(report), null, json ? undefined : 2));
  return EXIT.ok;
}
