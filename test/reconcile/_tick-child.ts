// A replica whose own clock is wrong: claims what is due whenever its parent says so, and writes down what it got.
const offsetMs = Number(process.argv[3]);
const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...given: unknown[]) {
    super(...((given.length === 0 ? [RealDate.now() + offsetMs] : given) as [number]));
  }
  static override now(): number {
    return RealDate.now() + offsetMs;
  }
} as DateConstructor;

const { openDatabase, sql } = await import('../../src/store/database.ts');
const { claimDue } = await import('../../src/store/schedules.ts');
const db = await openDatabase({ url: process.argv[2]!, poolMax: 2 });

process.on('message', (message) => {
  if (message === 'stop') void db.close().then(() => process.disconnect());
  else void look().then((count) => process.send!(count));
});
process.send!('ready');

async function look(): Promise<number> {
  const ticks = await claimDue(db.em(), (em, { schedule, dueAt }) =>
    sql(em, 'insert into claimed (schedule, due_at, replica, said_at) values ($1, $2, $3, $4)', [
      schedule,
      dueAt.toISOString(),
      offsetMs,
      new Date().toISOString(),
    ]),
  );
  return ticks.length;
}
