// One model: classify with it, its architecture and preprocessing, the report of its import, its
// layers, and its angles if it is tuned.
import { button, destroy } from '../actions.js';
import { enc, get, getOrNull, patch, query, Problem } from '../api.js';
import { anglesPanel } from '../angles.js';
import { classifyPanel } from '../classify.js';
import { h, fill, facts, problemBox, section, toast } from '../dom.js';
import { bytes, compact, count, digits, plural, when } from '../format.js';
import { textField } from '../upload.js';

const triple = (numbers) => (numbers ? numbers.map((x) => digits(x)).join(', ') : null);

function architecture(model) {
  const a = model.architecture;
  const extras = [a.registers ? plural(a.registers, 'register token') : null, a.distilled ? 'distillation token' : null,
    a.layer_scale ? 'layer scale' : null].filter(Boolean);
  return facts([
    ['Blocks', `${a.depth}`], ['Width', `${a.dim}`], ['Heads', `${a.heads}, ${a.dim / a.heads} wide`], ['FFN width', count(a.mlp_dim)],
    ['Patch', `${a.patch_size} × ${a.patch_size} pixels`], ['Image', `${a.image_size} × ${a.image_size} pixels`],
    ['Pooling', a.pool === 'cls' ? 'class token' : 'mean of the patches'], ['Classes', count(a.classes)],
    ['Activation', a.activation], ['Norm epsilon', a.norm_eps === undefined ? null : String(a.norm_eps)], ['Also', extras.join(', ')]]);
}

function preprocessing(model) {
  const p = model.preprocessing ?? {};
  return facts([['Mean', triple(p.mean)], ['Standard deviation', triple(p.std)], ['Crop fraction', digits(p.crop_pct)], ['Resampling', p.interpolation], ['Position resampling', p.pos_resample]]);
}

function importReport(model) {
  const report = model.import;
  if (!report) return null;
  const names = (title, list) => (list?.length
    ? h('details', {}, h('summary', {}, `${title}: ${plural(list.length, 'tensor')}`), h('ul.mono', {}, list.map((n) => h('li', {}, n)))) : null);
  return section('Import', {}, h('p', {}, `${plural(report.mapped, 'tensor')} read in the ${model.format} scheme.`),
    names('Ignored', report.ignored), names('Resized', report.resized));
}

function layersTable(layers) {
  const rows = layers.map((layer) => h('tr', {},
    h('th.mono', { scope: 'row' }, layer.name), h('td', {}, h(`span.tag.${layer.group}`, {}, layer.group)), h('td.num', {}, count(layer.parameters)),
    h('td', {}, h('details', {}, h('summary', {}, plural(layer.tensors.length, 'tensor')),
      h('ul.mono.plain', {}, layer.tensors.map((t) => h('li', {}, `${t.name} `, h('span.muted', {}, t.shape.join(' × ')))))))));
  return h('div.scroll.tall', { tabindex: '0', role: 'region', 'aria-label': 'Layers' },
    h('table.table.compact', {}, h('caption.visually-hidden', {}, 'Layers of the model'),
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Layer'), h('th', { scope: 'col' }, 'Group'), h('th.num', { scope: 'col' }, 'Parameters'), h('th', { scope: 'col' }, 'Tensors'))),
      h('tbody', {}, rows)));
}

function downloads(model) {
  const base = `/v1/models/${enc(model.id)}`;
  const name = model.name || model.id;
  const link = (text, path, file) => h('li', {}, h('a', { href: path, download: file }, text));
  const classifies = model.architecture.classes > 0;
  return section('Download', {}, h('ul', {},
    classifies ? link('For Hugging Face transformers: a zip with weights, configuration, preprocessing and model card', query(`${base}/export`, { format: 'huggingface', archive: 'zip' }), `${name}-huggingface.zip`) : null,
    classifies ? link('For timm: the same with timm’s names', query(`${base}/export`, { format: 'timm', archive: 'zip' }), `${name}-timm.zip`) : null,
    link('Whole checkpoint, safetensors in timm names', query(`${base}/checkpoint`, { format: 'timm', content: 'full' }), `${name}.safetensors`),
    model.kind === 'tuned' ? link('Only the tensors that differ from the base', query(`${base}/checkpoint`, { format: 'timm', content: 'delta' }), `${name}-delta.safetensors`) : null));
}

function renaming(model, trouble) {
  const field = textField({ id: 'rename', label: 'Name', value: model.name ?? '', maxlength: '64', pattern: '[a-z0-9][a-z0-9._\\-]{0,63}', required: true });
  const form = h('form.row', { 'aria-label': 'Rename the model' }, field.node, h('button.button', { type: 'submit' }, 'Rename'));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    try {
      const changed = await patch(`/v1/models/${enc(model.id)}`, { name: field.input.value.trim() });
      document.querySelector('h1').textContent = changed.name;
      fill(trouble);
      toast(`The model is now called ${changed.name}.`);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      fill(trouble, problemBox(error));
    }
  });
  return form;
}

async function origin(model, signal) {
  if (model.kind !== 'tuned') return null;
  const [base, run, soup] = await Promise.all([
    model.base ? getOrNull(`/v1/models/${enc(model.base)}`, { signal }) : null,
    model.run ? getOrNull(`/v1/runs/${enc(model.run)}`, { signal }) : null,
    model.soup ? getOrNull(`/v1/soups/${enc(model.soup)}`, { signal }) : null]);
  const maker = soup ? h('a', { href: `#/soups/${enc(soup.id)}` }, soup.name || 'a soup') : run ? h('a', { href: `#/runs/${enc(run.id)}` }, run.name || run.id) : model.soup ? 'a deleted soup' : 'a deleted run';
  return h('span', {}, 'Tuned from ', base ? h('a', { href: `#/models/${enc(base.id)}` }, base.name || base.id) : 'a deleted model',
    ' by ', maker, '. ');
}

export async function modelPage({ id, signal, setTitle }) {
  const model = await get(`/v1/models/${enc(id)}`, { signal });
  const [layers, angles, from] = await Promise.all([
    get(`/v1/models/${enc(model.id)}/layers`, { signal }),
    model.kind === 'tuned' ? getOrNull(`/v1/models/${enc(model.id)}/angles`, { signal }) : null,
    origin(model, signal)]);
  const name = model.name || model.id;
  setTitle(name);
  const trouble = h('div');
  const tuned = model.kind === 'tuned';
  let turned = null;
  if (angles?.epochs?.length) {
    turned = anglesPanel(signal);
    angles.epochs.forEach((epoch) => turned.add(epoch));
  }
  return [
    h('div.head', {},
      h('div', {}, h('p.crumb', {}, h('a', { href: '#/models' }, 'Models')), h('h1', { tabindex: '-1' }, name),
        h('p.sub', {}, from, `${compact(model.parameters)} parameters`, tuned ? `, ${count(model.tuned_parameters)} of them tuned` : '', `, ${model.format} checkpoint, ${bytes(model.bytes)} on disk`)),
      h('div.row', {}, h('a.button.primary', { href: `#/runs/new?model=${enc(model.id)}` }, 'Fine-tune it'),
        model.kind === 'tuned' ? h('a.button', { href: `#/evaluations?model=${enc(model.id)}` }, 'Evaluate it') : null,
        button('Delete', () => destroy({
          what: 'model', name, text: `${name} is removed from the disk.`, path: `/v1/models/${enc(model.id)}`, back: '#/models', place: trouble,
        }), '.danger'))),
    trouble,
    model.architecture.classes > 0 ? classifyPanel(model.id, signal)
      : h('p.notice', {}, 'This checkpoint has no classification head. Fine-tune it on a data set; the tuned model can classify.'),
    turned?.element,
    h('div.halves', {}, section('Architecture', {}, architecture(model)),
      h('div.stack', {}, section('Preprocessing', {}, preprocessing(model)), importReport(model), downloads(model))),
    section('Layers', {}, layersTable(layers.items)),
    section('About', {}, facts([['Id', h('code', {}, model.id)], ['Added', when(model.created_at)], ['SHA-256', h('code', {}, model.sha256)],
      ['Class names', model.labels?.length ? h('details', {}, h('summary', {}, plural(model.labels.length, 'name')), h('ol.plain', {}, model.labels.map((l) => h('li', {}, l)))) : 'none: predictions have class numbers']]),
    renaming(model, trouble)),
  ].filter(Boolean);
}
