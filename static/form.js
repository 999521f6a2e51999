// A form built from a JSON Schema of the service. The schema has the fields, their limits, defaults
// and explanations.
import { h, fill, uniqueId } from './dom.js';

const LABELS = {
  lr: 'Learning rate', dataset: 'Data set', clip_norm: 'Gradient clipping', eval_every_epochs: 'Validate every … epochs', early_stop_epochs: 'Stop early after … epochs',
  checkpoint_every_seconds: 'Checkpoint every … seconds', warmup_steps: 'Warm-up steps', augment: 'Augmentation', schedule: 'Schedule', head: 'New head',
};

const labelOf = (name) => LABELS[name] ?? (name[0].toUpperCase() + name.slice(1)).replaceAll('_', ' ');

/** One property, with references resolved, "or null" as `nullable`, and the types as a list. */
function normalise(property, root) {
  let schema = property;
  if (schema.$ref?.startsWith('#/')) {
    const target = schema.$ref.slice(2).split('/').reduce((node, key) => node?.[key], root);
    schema = { ...target, ...schema };
  }
  const variants = (schema.anyOf ?? schema.oneOf ?? []).map((v) => normalise(v, root));
  const types = [schema.type ?? []].flat();
  const real = variants.filter((v) => !(v.types.length === 1 && v.types[0] === 'null'));
  const only = real.length === 1 ? real[0] : {};
  const merged = { ...only, ...schema };
  const values = merged.enum?.filter((v) => v !== null);
  return {
    ...merged,
    enum: values,
    types: [...new Set([...types, ...variants.flatMap((v) => v.types)])],
    nullable: types.includes('null') || real.length < variants.length || Boolean(merged.enum?.includes(null)),
    variants: real,
  };
}

const number = (types) => types.includes('integer') || types.includes('number');

function control(schema, id, choices) {
  if (choices) return h('select', { id }, h('option', { value: '' }, choices.length ? 'Choose…' : 'None yet'), choices.map((c) => h('option', { value: c.value }, c.text)));
  if (schema.enum) {
    const empty = schema.nullable || schema.default === undefined ? [h('option', { value: '' }, 'automatic')] : [];
    return h('select', { id }, empty, schema.enum.map((v) => h('option', { value: String(v) }, String(v))));
  }
  if (schema.types.includes('boolean')) return h('input', { type: 'checkbox', id });
  if (number(schema.types)) {
    return h('input', { type: 'number', id, min: schema.minimum, max: schema.maximum, step: schema.types.includes('number') ? 'any' : '1', placeholder: schema.nullable ? 'automatic' : null });
  }
  return h('input', { type: 'text', id, maxlength: schema.maxLength, autocomplete: 'off', spellcheck: 'false' });
}

/**
 * One field: {node, get(), set(value), fail(text), input}. get returns undefined for the default.
 * `choices` ([{value, text}]) makes it a menu.
 */
export function field(name, property, root, choices) {
  const schema = normalise(property, root);
  const id = uniqueId('field');
  const input = control(schema, id, choices);
  const error = h('span.error', { id: `${id}-error`, role: 'status' });
  const hint = schema.description ? h('span.hint', { id: `${id}-hint` }, schema.description.replace(/\bnull:/, 'automatic:')) : null;
  input.setAttribute('aria-describedby', [`${id}-error`, hint ? `${id}-hint` : ''].join(' ').trim());
  input.name = name;
  const node = h('div.field', {}, h('label', { for: id }, labelOf(name)), input, error, hint);

  function set(value) {
    if (input.type === 'checkbox') input.checked = Boolean(value);
    else input.value = value === null || value === undefined ? '' : String(value);
  }

  function read() {
    if (input.type === 'checkbox') return input.checked;
    const text = input.value.trim();
    // A number field returns '' for text that it cannot read. This must not mean "automatic".
    if (input.validity.badInput) return input.validationMessage;
    if (text === '') return schema.nullable && schema.default !== undefined ? null : undefined;
    return number(schema.types) && !choices ? Number(text) : text;
  }

  set(schema.default);
  return {
    node,
    input,
    set,
    get() {
      const value = read();
      return value === schema.default ? undefined : value;
    },
    fail(text) {
      fill(error, text);
      if (text) input.setAttribute('aria-invalid', 'true');
      else input.removeAttribute('aria-invalid');
    },
  };
}

/** Shows the field errors of problem+json beside their fields. Returns the errors that belong to no
 * field. */
export function showErrors(fields, errors) {
  const texts = new Map();
  const others = [];
  for (const error of errors) {
    const name = (error.pointer ?? '').split('/')[1];
    if (fields.has(name)) texts.set(name, [...(texts.get(name) ?? []), error.detail]);
    else others.push(error);
  }
  for (const [name, each] of fields) {
    each.fail((texts.get(name) ?? []).join('; '));
    if (texts.has(name)) each.node.closest('details')?.setAttribute('open', '');
  }
  return others;
}
