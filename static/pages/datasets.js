// The list of data sets, and uploading one.
import { query } from '../api.js';
import { h, fill, command } from '../dom.js';
import { bytes, count, slug, when } from '../format.js';
import { pagedTable } from '../list.js';
import { dropZone, sendWithProgress, textField } from '../upload.js';

const COLUMNS = [
  { title: 'Name' }, { title: 'Classes', class: 'num' }, { title: 'Train', class: 'num' }, { title: 'Val', class: 'num' },
  { title: 'Test', class: 'num' }, { title: 'Size', class: 'num' }, { title: 'Added' },
];

function row(set) {
  return h('tr', {},
    h('td.name', {}, h('a.ellipsis', { href: `#/datasets/${encodeURIComponent(set.id)}` }, set.name || set.id)),
    h('td.num', {}, count(set.classes.length)), h('td.num', {}, count(set.images.train)), h('td.num', {}, count(set.images.val)),
    h('td.num', {}, count(set.images.test)), h('td.num', {}, bytes(set.bytes)), h('td', {}, when(set.created_at)));
}

function empty() {
  return h('div.empty', {}, h('h2', {}, 'No data sets yet'),
    h('p', {}, 'A data set is an archive with one folder of photographs per class. Drop one above, or send it from a shell:'),
    command(`curl -X POST -T photos.zip '${location.origin}/v1/datasets?name=photos&val_fraction=0.2'`),
    h('p.muted', {}, 'The next step is then a ', h('a', { href: '#/models' }, 'model'), ' to start from.'));
}

/** The fields and the button that appear after a file was chosen. */
function uploadForm(file, place, onDone, signal) {
  const name = textField({ id: 'dataset-name', label: 'Name', hint: 'Lower-case letters, digits, dot, dash, underscore. Optional.',
    value: slug(file.name), maxlength: '64', pattern: '[a-z0-9][a-z0-9._\\-]{0,63}' });
  const share = textField({ id: 'dataset-val', label: 'Share for validation', type: 'number', min: '0', max: '0.9', step: 'any', value: '0.2', required: true,
    hint: 'Taken from each class if the archive has no val or test folder.' });
  const seed = textField({ id: 'dataset-seed', label: 'Seed of the split', type: 'number', min: '0', step: '1', value: '0', required: true });
  const cancel = h('button.button', { type: 'button', on: { click: () => fill(place) } }, 'Cancel');
  const form = h('form.stack', { 'aria-label': 'Upload a data set' },
    h('p', {}, h('strong', {}, file.name), ` · ${bytes(file.size)}`),
    h('div.fields', {}, name.node, share.node, seed.node),
    h('div.row', {}, h('button.button.primary', { type: 'submit' }, 'Upload'), cancel));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const path = query('/v1/datasets', { name: name.input.value.trim(), val_fraction: share.input.value, seed: seed.input.value });
    const progress = h('div');
    place.prepend(progress);
    form.hidden = true;
    const created = await sendWithProgress({ place: progress, path, body: file, type: 'application/octet-stream', name: file.name, signal });
    form.hidden = false;
    if (created) onDone(created);
  });
  fill(place, form);
  name.input.focus();
}

export async function datasetsPage({ signal, setTitle }) {
  setTitle('Data sets');
  const place = h('div.stack');
  const opened = (set) => { location.hash = `#/datasets/${encodeURIComponent(set.id)}`; };
  const zone = dropZone({
    id: 'dataset-file',
    title: 'Drop an archive of photographs here, or choose one',
    hint: 'zip, tar, tar.gz, tar.xz or tar.zst, with one folder for each class',
    onFiles: ([file]) => uploadForm(file, place, opened, signal),
  });
  const list = pagedTable({
    path: '/v1/datasets', caption: 'Data sets', columns: COLUMNS, row, empty, signal, interval: () => 15000,
  });
  return [
    h('div.head', {}, h('div', {}, h('h1', { tabindex: '-1' }, 'Data sets'),
      h('p.sub', {}, 'Photographs in class folders. Every image is decoded at upload. The page lists each file that cannot be used, with the reason.'))),
    h('div.stack', {}, zone, place),
    h('div.card', {}, list.element),
  ];
}
