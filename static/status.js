// A run's status and progress, as the list and the run's own page show them.
import { h } from './dom.js';
import { count, duration } from './format.js';

export const isActive = (status) => status === 'queued' || status === 'running';

export const pill = (status) => h(`span.pill.${status}`, {}, status);

/** The progress in 0..1. Runs count optimiser steps; the other jobs count their own steps. */
export function share(progress) {
  const [done, total] = [progress?.step ?? progress?.done, progress?.steps ?? progress?.total];
  return total ? Math.min(1, done / total) : 0;
}

export function timeLeft(run) {
  if (run.status === 'queued') return 'waiting for its turn';
  const eta = run.progress?.eta_seconds;
  return typeof eta === 'number' ? `${duration(eta)} left` : '';
}

const PHASES = { probe: 'probe', trial_largest: 'trial of the largest angles', trial_smallest: 'trial of the smallest angles', tuning: 'tuning' };

/** "epoch 3 of 10, step 52 of 210, 340 images/s, 2 min left" */
export function progressText(run) {
  const p = run.progress ?? {};
  return [PHASES[p.phase] ?? '', p.epochs ? `epoch ${count(p.epoch)} of ${count(p.epochs)}` : '', p.steps ? `step ${count(p.step)} of ${count(p.steps)}` : '',
    p.images_per_second ? `${count(Math.round(p.images_per_second))} images/s` : '', isActive(run.status) ? timeLeft(run) : ''].filter(Boolean).join(', ');
}
