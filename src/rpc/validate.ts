// Requests are checked against the rules in the contract itself; there are no hand-written checks beside them.
import { create, type DescMessage, type Message } from '@bufbuild/protobuf';
import { pathToString } from '@bufbuild/protobuf/reflect';
import { createValidator, type Violation } from '@bufbuild/protovalidate';
import { TrueUpError } from '../core/errors.ts';

export interface RequestValidator {
  /** Compiles the rules of a message now rather than inside the first call that needs them. */
  prepare(desc: DescMessage): void;
  /** @throws TrueUpError INVALID_REQUEST with a violation for each broken rule. */
  check(desc: DescMessage, message: Message): void;
}

export function createRequestValidator(): RequestValidator {
  const validator = createValidator();
  return {
    prepare(desc) {
      const result = validator.validate(desc, create(desc));
      if (result.kind === 'error')
        throw new Error(`the rules of ${desc.typeName} don't compile: ${result.error.message}`);
    },
    check(desc, message) {
      const result = validator.validate(desc, message);
      if (result.kind === 'valid') return;
      if (result.kind === 'error') throw result.error;
      const fields = result.violations.map((violation) => ({
        field: fieldOf(violation),
        description: violation.message,
      }));
      const words = fields
        .slice(0, 5)
        .map(({ field, description }) => (field ? `${field}: ${description}` : description));
      throw new TrueUpError('INVALID_REQUEST', words.join('; '), { fields, fix: 'change the fields named' });
    },
  };
}

/** `entries[3].amount`; empty where the rule is about the whole message. */
function fieldOf(violation: Violation): string {
  return pathToString(violation.field);
}
