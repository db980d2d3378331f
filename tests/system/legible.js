// What of the page cannot be read well; used by test_live_page.py.

/** Texts whose contrast with their ground is below 4.5 (WCAG 2, 1.4.3). */
window.faint = () => {
  const parse = (text) => { const found = text.match(/[\d.]+/g).map(Number); return [...found.slice(0, 3), found[3] ?? 1]; };
  const over = ([r, g, b, a], under) => [r, g, b].map((each, index) => a * each + (1 - a) * under[index]);
  const light = (rgb) => rgb.map((each) => each / 255).map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)).reduce((sum, each, index) => sum + each * [0.2126, 0.7152, 0.0722][index], 0);
  const ground = (element) => {
    const chain = [];
    for (let each = element; each; each = each.parentElement) {
      chain.unshift(parse(getComputedStyle(each).backgroundColor));
      const tint = each.matches(".bar span") ? each.parentElement.querySelector("i") : null;
      if (tint) { const [r, g, b] = parse(getComputedStyle(tint).backgroundColor); chain.unshift([r, g, b, Number(getComputedStyle(tint).opacity)]); }
    }
    // The tint lies on the bar's own ground, which comes right before it.
    return chain.reduce((under, each) => over(each, under), [255, 255, 255]);
  };
  const faint = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || !element.checkVisibility({ opacityProperty: true }) || element.closest("svg, .skip, option, script, noscript")) continue;
    let opacity = 1;
    for (let each = element; each; each = each.parentElement) opacity *= Number(getComputedStyle(each).opacity);
    const back = ground(element);
    const [r, g, b, a] = parse(getComputedStyle(element).color);
    const [one, two] = [light(over([r, g, b, a * opacity], back)), light(back)].sort((x, y) => y - x);
    const ratio = (one + 0.05) / (two + 0.05);
    if (ratio < 4.5) faint.push(`${walk.currentNode.textContent.slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return faint;
};

/** Numbers that a line break parts, or parts from their unit. */
window.broken = () => {
  const broken = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode;
    if (!node.parentElement.checkVisibility()) continue;
    for (const found of node.textContent.matchAll(/(?<![\p{L}\d_])\d[\d,.:\u2060-]*(\u00a0[^\s]+)?/gu)) {
      const range = document.createRange();
      range.setStart(node, found.index);
      range.setEnd(node, found.index + found[0].length);
      const tops = new Set([...range.getClientRects()].filter((each) => each.width > 0).map((each) => Math.round(each.top)));
      if (tops.size > 1) broken.push(found[0]);
    }
  }
  return broken;
};
