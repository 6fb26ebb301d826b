// A process to be killed: starts the embedded server of the folder in its first argument, and commits rows until it dies.
// Says one JSON object a line: first where the server is, then the number of each committed row.
import { openDatabase, sql } from '../../src/store/database.ts';
import { startEmbedded } from '../../src/store/embedded.ts';

const say = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`);

try {
  const server = await startEmbedded({ dataDir: process.argv[2] ?? '' });
  say({ pid: server.pid, adopted: server.adopted, url: server.url, uid: process.getuid?.() });
  if (process.argv[3] === 'close') {
    await server.close();
  } else {
    const db = await openDatabase({ url: server.url });
    await sql(db.em(), 'create table if not exists kept (n integer primary key)');
    const [last] = await sql<{ n: number }>(db.em(), 'select coalesce(max(n), 0) as n from kept');
    for (let n = (last?.n ?? 0) + 1; ; n++) {
      await sql(db.em(), 'insert into kept values ($1)', [n]);
      say({ committed: n });
    }
  }
} catch (error) {
  say({ reason: (error as { reason?: string }).reason, message: (error as Error).message });
}
