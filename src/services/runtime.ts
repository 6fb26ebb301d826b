// What this process uses. Nothing is measured until somebody looks; what can't be measured yet is null.
import { hostname } from 'node:os';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import process from 'node:process';
import { getHeapStatistics } from 'node:v8';
import type { RuntimeInfo } from '../core/status.ts';

export interface RuntimeOptions {
  readonly version: string;
  readonly startedAt: Date;
  /** Names this process among replicas; the host's name unless given. */
  readonly replica?: string;
}

export interface RuntimeSampler {
  info(): RuntimeInfo;
  close(): void;
}

/** Shorter spans say more of the clock's grain than of the load. */
const MIN_CPU_SPAN_MS = 500;
const NS_PER_MS = 1e6;

export function createRuntimeSampler(options: RuntimeOptions): RuntimeSampler {
  const delay = monitorEventLoopDelay();
  delay.enable();
  let before = { atMs: performance.now(), cpu: process.cpuUsage() };
  let cpuPercent: number | null = null;
  return {
    info() {
      const atMs = performance.now();
      if (atMs - before.atMs >= MIN_CPU_SPAN_MS) {
        const used = process.cpuUsage(before.cpu);
        cpuPercent = ((used.user + used.system) / 1000 / (atMs - before.atMs)) * 100;
        before = { atMs, cpu: process.cpuUsage() };
      }
      const memory = process.memoryUsage();
      const p99Ms = delay.percentile(99) / NS_PER_MS;
      return {
        version: options.version,
        nodeVersion: process.version,
        platform: `${process.platform}-${process.arch}`,
        pid: process.pid,
        replica: options.replica ?? hostname(),
        startedAt: options.startedAt,
        uptimeMs: Math.max(0, Date.now() - options.startedAt.getTime()),
        cpuPercent,
        rssBytes: memory.rss,
        heapUsedBytes: memory.heapUsed,
        heapLimitBytes: getHeapStatistics().heap_size_limit,
        eventLoopDelayP99Ms: delay.count === 0 || !Number.isFinite(p99Ms) ? null : p99Ms,
      };
    },
    close() {
      delay.disable();
    },
  };
}
