// The list of models, uploading a checkpoint, and making an untrained one.
import { post, query, Problem } from '../api.js';
import { h, fill, command, problemBox } from '../dom.js';
import { bytes, compact, count, slug, when } from '../format.js';
import { pagedTable } from '../list.js';
import { dropZone, sendWithProgress, textField } from '../upload.js';

const COLUMNS = [
  { title: 'Name' }, { title: 'Kind' }, { title: 'Architecture' }, { title: 'Classes', class: 'num' }, { title: 'Parameters', class: 'num' }, { title: 'Added' },
];
const NAME = { maxlength: '64', pattern: '[a-z0-9][a-z0-9._\\-]{0,63}' };
const PRESETS = [
  ['Small, 32 pixels', { image_size: 32, patch_size: 4, dim: 192, depth: 6, heads: 3, mlp_dim: 768 }],
  ['ViT-Ti/16', { image_size: 224, patch_size: 16, dim: 192, depth: 12, heads: 3, mlp_dim: 768 }],
  ['ViT-S/16', { image_size: 224, patch_size: 16, dim: 384, depth: 12, heads: 6, mlp_dim: 1536 }],
  ['ViT-B/16', { image_size: 224, patch_size: 16, dim: 768, depth: 12, heads: 12, mlp_dim: 3072 }],
];
const SIZES = [['image_size', 'Image size'], ['patch_size', 'Patch size'], ['dim', 'Width'], ['depth', 'Blocks'], ['heads', 'Heads'],
  ['mlp_dim', 'FFN width'], ['classes', 'Classes']];

function row(model) {
  const a = model.architecture;
  return h('tr', {},
    h('td.name', {}, h('a.ellipsis', { href: `#/models/${encodeURIComponent(model.id)}` }, model.name || model.id)),
    h('td', {}, h(`span.tag.${model.kind}`, {}, model.kind)),
    h('td', {}, `${a.depth} × ${a.dim}, patch ${a.patch_size}, ${a.image_size} px`),
    h('td.num', {}, count(a.classes)),
    h('td.num', {}, h('span', {}, compact(model.parameters), model.kind === 'tuned' ? h('span.muted.small', {}, ` (${compact(model.tuned_parameters)} tuned)`) : null)),
    h('td', {}, when(model.created_at)));
}

function empty() {
  return h('div.empty', {}, h('h2', {}, 'No models yet'),
    h('p', {}, 'Start from a pre-trained Vision Transformer: a safetensors file from timm, Hugging Face, torchvision or DINOv2. Drop it above, or send it from a shell:'),
    command(`curl -X POST -T model.safetensors -H 'Content-Type: application/octet-stream' '${location.origin}/v1/models?name=vit'`),
    h('p.muted', {}, 'If you have no checkpoint, create an untrained model above and train all of it.'));
}

// --- uploading -----------------------------------------------------------------------------------

/** Which part of the request a file is, by its name. */
function partOf(file) {
  const name = file.name.toLowerCase();
  if (name.endsWith('.json')) {
    if (name.includes('preprocessor')) return 'preprocessor';
    return name.includes('label') || name.includes('class') ? 'labels' : 'config';
  }
  return 'checkpoint';
}

const PART_TEXT = { checkpoint: 'checkpoint', config: 'architecture (config.json)', preprocessor: 'preprocessing (preprocessor_config.json)', labels: 'class names (JSON array)' };
const AUTOMATIC = ['', 'automatic'];
const OVERRIDES = [
  ['heads', 'Heads', { type: 'number', min: '1', step: '1' }, 'If the tensors do not show it.'],
  ['image_size', 'Image size', { type: 'number', min: '1', step: '1' }, 'Pixels.'],
  ['mean', 'Mean', { placeholder: '0.5,0.5,0.5' }, 'Three numbers.'],
  ['std', 'Standard deviation', { placeholder: '0.5,0.5,0.5' }, 'Three numbers.'],
  ['crop_pct', 'Crop fraction', { type: 'number', min: '0.1', max: '1', step: 'any' }, 'Share of the shorter side.'],
  ['activation', 'Activation', { choices: [AUTOMATIC, ...['gelu', 'gelu_tanh', 'quick_gelu'].map((a) => [a, a])] }, 'quick_gelu for OpenAI’s CLIP.'],
  ['norm_eps', 'Norm epsilon', { placeholder: '1e-6' }, 'Of every layer norm.'],
  ['pos_resample', 'Position resampling', { choices: [AUTOMATIC, ...['timm', 'hf', 'dinov2', 'torchvision'].map((a) => [a, a])] }, 'The library whose method is used for another image size.'],
  ['allow_unused', 'Unknown tensors', { choices: [['', 'refuse'], ['true', 'ignore']] }, 'Tensors that no ViT has.'],
];

function uploadForm(parts, place, signal) {
  const file = parts.get('checkpoint');
  const name = textField({ id: 'model-name', label: 'Name', hint: 'Lower-case letters, digits, dot, dash, underscore. Optional.', value: file ? slug(file.name) : '', ...NAME });
  const overrides = OVERRIDES.map(([key, label, attributes, hint]) => [key, textField({ id: `model-${key}`, label, hint, ...attributes })]);
  const list = h('ul.parts', {}, [...parts].map(([part, f]) => h('li', {}, h('strong', {}, f.name), ` · ${bytes(f.size)} · ${PART_TEXT[part]}`)));
  const send = h('button.button.primary', { type: 'submit', disabled: !file }, 'Upload');
  const form = h('form.stack', { 'aria-label': 'Upload a checkpoint' }, list,
    file ? null : h('p.notice', {}, 'The checkpoint itself is still missing: drop its .safetensors file as well.'),
    h('div.fields', {}, name.node),
    h('details', {}, h('summary', {}, 'What the file does not tell'), h('div.fields', {}, overrides.map(([, f]) => f.node))),
    h('div.row', {}, send, h('button.button', { type: 'button', on: { click: () => { parts.clear(); fill(place); } } }, 'Cancel')));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const path = query('/v1/models', { name: name.input.value.trim(), ...Object.fromEntries(overrides.map(([key, f]) => [key, f.input.value.trim()])) });
    let body = file;
    if (parts.size > 1) {
      body = new FormData();
      for (const [part, f] of parts) body.append(part, f, f.name);
    }
    const progress = h('div');
    place.prepend(progress);
    form.hidden = true;
    const created = await sendWithProgress({ place: progress, path, body, type: parts.size > 1 ? null : 'application/octet-stream', name: file.name, signal });
    form.hidden = false;
    if (created) location.hash = `#/models/${encodeURIComponent(created.id)}`;
  });
  fill(place, form);
  name.input.focus();
}

function uploader(signal) {
  const parts = new Map();
  const place = h('div.stack');
  return [dropZone({
    id: 'model-file',
    title: 'Drop a safetensors checkpoint here, or choose one',
    hint: 'config.json, preprocessor_config.json and a JSON list of labels may come with it',
    multiple: true,
    onFiles(files) {
      for (const file of files) parts.set(partOf(file), file);
      uploadForm(parts, place, signal);
    },
  }), place];
}

// --- an untrained model --------------------------------------------------------------------------

function randomForm() {
  const name = textField({ id: 'random-name', label: 'Name', hint: 'Optional.', ...NAME });
  const seed = textField({ id: 'random-seed', label: 'Seed', type: 'number', min: '0', step: '1', value: '0', required: true });
  const sizes = SIZES.map(([key, label]) => [key, textField({ id: `random-${key}`, label, type: 'number', min: '1', step: '1', required: true, value: key === 'classes' ? '10' : null })]);
  const pool = h('select', { id: 'random-pool' }, h('option', { value: 'cls' }, 'class token'), h('option', { value: 'mean' }, 'mean of the patches'));
  const preset = h('select', { id: 'random-preset' }, PRESETS.map(([title], i) => h('option', { value: String(i) }, title)));
  const trouble = h('div');
  const apply = () => { for (const [key, value] of Object.entries(PRESETS[Number(preset.value)][1])) sizes.find(([k]) => k === key)[1].input.value = value; };
  preset.addEventListener('change', apply);
  apply();
  const form = h('form.stack', { 'aria-label': 'Create an untrained model' },
    h('div.fields', {}, name.node, h('div.field', {}, h('label', { for: 'random-preset' }, 'Preset'), preset)),
    h('div.fields', {}, sizes.map(([, f]) => f.node), h('div.field', {}, h('label', { for: 'random-pool' }, 'Pooling'), pool), seed.node),
    trouble, h('div', {}, h('button.button.primary', { type: 'submit' }, 'Create')));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const architecture = Object.fromEntries(sizes.map(([key, f]) => [key, Number(f.input.value)]));
    const json = { init: 'random', seed: Number(seed.input.value), architecture: { ...architecture, pool: pool.value } };
    if (name.input.value.trim()) json.name = name.input.value.trim();
    fill(trouble);
    try {
      const created = await post('/v1/models', { json });
      location.hash = `#/models/${encodeURIComponent(created.id)}`;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      fill(trouble, problemBox(error));
      for (const [key, f] of sizes) f.input.setAttribute('aria-invalid', String(error.errors.some((e) => e.pointer === `/architecture/${key}`)));
    }
  });
  return form;
}

export async function modelsPage({ signal, setTitle }) {
  setTitle('Models');
  const list = pagedTable({ path: '/v1/models', caption: 'Models', columns: COLUMNS, row, empty, signal, interval: () => 15000 });
  return [
    h('div.head', {}, h('div', {}, h('h1', { tabindex: '-1' }, 'Models'),
      h('p.sub', {}, 'Base models are uploaded or untrained. Tuned models are the results of runs; they store only their differences from the base.'))),
    h('div.stack', {}, uploader(signal),
      h('details.card', { id: 'random-model' }, h('summary', {}, 'Create an untrained model'), randomForm())),
    h('div.card', {}, list.element),
  ];
}
