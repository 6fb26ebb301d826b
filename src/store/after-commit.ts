// What may happen only once a transaction has committed, such as showing in memory what was decided in it.
import type { EventSubscriber, TransactionEventArgs } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';

type Work = () => void;

const waiting = new WeakMap<object, Work[]>();

/** Runs `work` when the transaction of `em` commits, never when it is rolled back; at once where there is none. */
export function afterCommit(em: EntityManager, work: Work): void {
  const transaction = em.getTransactionContext() as object | undefined;
  if (transaction === undefined) return work();
  const before = waiting.get(transaction);
  if (before === undefined) waiting.set(transaction, [work]);
  else before.push(work);
}

/** Given to the ORM once, for all transactions. */
export const afterCommitSubscriber: EventSubscriber = {
  afterTransactionCommit({ transaction }: TransactionEventArgs): void {
    if (transaction === undefined) return;
    const works = waiting.get(transaction) ?? [];
    waiting.delete(transaction);
    for (const work of works) work();
  },
};
