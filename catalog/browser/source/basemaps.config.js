// What STAC Browser draws beneath footprints and pictures. The grid is drawn in the page itself, so maps work
// where nothing but the catalogue can be reached; OpenStreetMap is asked only once somebody chooses it.

const EDGE_PX = 512;
const LIMIT_DEGREES = 85.0511287798;
const STEPS_DEGREES = [90, 30, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001];
const WANTED_PX = 90;

// Columns and rows of a tile pyramid over the Web Mercator square, in degrees and back.
const longitudeOf = (column, count) => (column / count) * 360 - 180;
const latitudeOf = (row, count) => (Math.atan(Math.sinh(Math.PI * (1 - (2 * row) / count))) * 180) / Math.PI;
const columnOf = (degrees, count) => ((degrees + 180) / 360) * count;
const rowOf = (degrees, count) => {
  const radians = (degrees * Math.PI) / 180;
  return ((1 - Math.asinh(Math.tan(radians)) / Math.PI) / 2) * count;
};

function chooseStep(count) {
  const degreesPerPx = 360 / (count * EDGE_PX);
  const fits = STEPS_DEGREES.filter(step => step / degreesPerPx >= WANTED_PX);
  return fits.length > 0 ? fits[fits.length - 1] : STEPS_DEGREES[0];
}

function spell(degrees, step, positive, negative) {
  const digits = step >= 1 ? 0 : Math.ceil(-Math.log10(step));
  const letter = degrees > 0 ? positive : degrees < 0 ? negative : '';
  return `${Math.abs(degrees).toFixed(digits)}°${letter}`;
}

function multiples(low, high, step) {
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + 1e-9; n++) {
    found.push(n * step);
  }
  return found;
}

function drawTile(z, x, y) {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = EDGE_PX;
  const context = canvas.getContext('2d');
  const count = 2 ** z;
  const step = chooseStep(count);
  context.fillStyle = '#eef2f4';
  context.fillRect(0, 0, EDGE_PX, EDGE_PX);
  context.strokeStyle = '#c3ced5';
  context.fillStyle = '#7b8a94';
  context.lineWidth = 1;
  context.font = '13px sans-serif';
  const meridians = multiples(longitudeOf(x, count), longitudeOf(x + 1, count), step);
  const [north, south] = [latitudeOf(y, count), latitudeOf(y + 1, count)];
  const parallels = multiples(Math.max(south, -LIMIT_DEGREES), Math.min(north, LIMIT_DEGREES), step);
  const across = meridians.map(degrees => [degrees, Math.round((columnOf(degrees, count) - x) * EDGE_PX) + 0.5]);
  const down = parallels.map(degrees => [degrees, Math.round((rowOf(degrees, count) - y) * EDGE_PX) + 0.5]);
  context.beginPath();
  across.forEach(([, px]) => { context.moveTo(px, 0); context.lineTo(px, EDGE_PX); });
  down.forEach(([, px]) => { context.moveTo(0, px); context.lineTo(EDGE_PX, px); });
  context.stroke();
  // Each tile names its own lines, so that some name is in sight wherever the map is.
  across.forEach(([degrees, px]) => context.fillText(spell(degrees, step, 'E', 'W'), px + 4, EDGE_PX - 6));
  across.forEach(([degrees, px]) => context.fillText(spell(degrees, step, 'E', 'W'), px + 4, EDGE_PX / 2 - 6));
  down.forEach(([degrees, px]) => context.fillText(spell(degrees, step, 'N', 'S'), 4, px - 5));
  down.forEach(([degrees, px]) => context.fillText(spell(degrees, step, 'N', 'S'), EDGE_PX / 2 + 4, px - 5));
  return canvas;
}

const GRID = {
  is: 'DataTile',
  title: 'Degrees (drawn here)',
  projection: 'EPSG:3857',
  tileSize: EDGE_PX,
  maxZoom: 18,
  wrapX: true,
  visible: true,
  loader: drawTile
};

const STREETS = {
  is: 'XYZ',
  title: 'OpenStreetMap (from the internet)',
  url: 'https://tile.openstreetmap.org/{z}/{x}/{y}.png',
  attributions: '&copy; <a href="https://www.openstreetmap.org/copyright" target="_blank">OpenStreetMap</a> contributors.',
  projection: 'EPSG:3857'
};

export default function configureBasemap() {
  return [{ ...GRID }, { ...STREETS }];
}
