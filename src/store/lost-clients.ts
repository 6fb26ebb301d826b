// Connections that die while they are in use go back to the pool, whoever holds them.
import type { Pool, PoolClient } from 'pg';

/**
 * A transaction that can't begin or roll back because its connection died never gives it back: the query builder releases only
 * after the statement has succeeded. Each outage would cost the pool some of its places until nobody gets one, and closing
 * it would wait for ever. So the end of a connection releases it here, and releasing it once more means nothing.
 */
export function releaseLostClients(pool: Pool): void {
  const connect = pool.connect.bind(pool) as () => Promise<PoolClient>;
  const checkOut = async (): Promise<PoolClient> => {
    const client = await connect();
    const release = client.release.bind(client);
    let released = false;
    const giveBack: PoolClient['release'] = (error) => {
      if (released) return;
      released = true;
      client.off('end', onEnd);
      release(error);
    };
    const onEnd = (): void => giveBack(true);
    client.once('end', onEnd);
    client.release = giveBack;
    return client;
  };
  // The pool's own query() asks with a callback; what it checks out it always gives back.
  pool.connect = ((callback?: Parameters<Pool['connect']>[0]) =>
    callback === undefined ? checkOut() : (connect as Pool['connect'])(callback)) as Pool['connect'];
}
