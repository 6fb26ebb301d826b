// Evidence at the door: no method of it is part of this release, and each says so.
import type { ServiceHandlers } from './methods.ts';
import type { ManifestService } from '../../gen/trueup/v1/manifest_service_pb.js';

export function manifestHandlers(): ServiceHandlers<typeof ManifestService> {
  return {};
}
