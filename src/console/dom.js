// Small tools for a page without a framework: elements made of text only, lists that keep what has not changed.

/** An element; children are elements or text, never markup. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false)
      element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ''));
  return element;
}

const rendered = new WeakMap();

/**
 * Shows one element for each item, in order. An item whose JSON is as before keeps its element, and with it the focus,
 * the selection and what was opened.
 */
export function showList(parent, items, keyOf, render, empty) {
  const before = rendered.get(parent) ?? new Map();
  const after = new Map();
  const nodes = items.map((item) => {
    const json = JSON.stringify(item);
    const known = before.get(keyOf(item));
    const entry = known?.json === json ? known : { json, node: render(item) };
    after.set(keyOf(item), entry);
    return entry.node;
  });
  rendered.set(parent, after);
  const wanted = nodes.length > 0 ? nodes : [el('p', { class: 'quiet' }, empty)];
  const [now, then] = [wanted, [...parent.childNodes]];
  const same = now.length === then.length && now.every((node, index) => node === then[index]);
  const bothEmpty = nodes.length === 0 && then.length === 1 && then[0].textContent === empty;
  if (!same && !bothEmpty) parent.replaceChildren(...wanted);
}

/** Writes text only where it is another one, so that nothing is announced or repainted for nothing. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A time that ages by itself: `refreshAges` rewrites it every second. */
export function age(ms, before = '', after = '') {
  return el('time', {
    class: 'age',
    'data-ms': ms,
    'data-before': before,
    'data-after': after,
    datetime: new Date(ms).toISOString(),
    title: new Date(ms).toISOString(),
  });
}

/** Rewrites every `age` under the page by the server's clock. */
export function refreshAges(nowMs, words) {
  for (const element of document.querySelectorAll('time.age')) {
    setText(element, element.dataset.before + words(nowMs - Number(element.dataset.ms)) + element.dataset.after);
  }
}
