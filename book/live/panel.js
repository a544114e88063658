// The controls of the live page and the places of what it shows, each with its name in data-is;
// and a row of each table, as the number of rows is the model's.
"use strict";

const infoflowPanel = `
  <div class="live-scene">
    <div class="live-board">
      <canvas role="img"></canvas>
      <div class="live-map" aria-hidden="true"></div>
      <div class="handles"></div>
    </div>
    <p class="live-note" data-is="legend"></p>
    <fieldset data-is="thing">
      <legend data-is="thing-name"></legend>
      <label>Colour <select data-is="colour"></select></label>
      <label data-for="shape">Shape <select data-is="shape"></select></label>
      <label data-for="shape">Size <select data-is="size"></select></label>
      <label data-for="sign">Letters
        <input data-is="text" maxlength="3" size="4" autocomplete="off" spellcheck="false"></label>
      <button type="button" data-is="remove">Remove</button>
    </fieldset>
    <p>
      <button type="button" data-is="add-shape">Add a shape</button>
      <button type="button" data-is="add-sign">Add a sign</button>
    </p>
    <p class="live-note" role="status" data-is="strange"></p>
  </div>
  <div class="live-model">
    <label>Question
      <textarea rows="2" data-is="question" spellcheck="false" autocomplete="off"></textarea>
    </label>
    <label>Or one of these <select data-is="questions"></select></label>
    <p class="live-note" role="status" data-is="unknown"></p>
    <fieldset>
      <legend>Cut an edge</legend>
      <label>What is hidden <select data-is="edge"></select></label>
      <label>In which layers <select data-is="span"></select></label>
      <input type="range" min="0" step="1" autocomplete="off" data-is="place"
        aria-label="Where the cut begins">
      <p data-is="told"></p>
    </fieldset>
    <p class="live-answer" aria-live="polite">Answer: <output data-is="answer"></output></p>
    <table>
      <caption>First token of the answer: the five most probable</caption>
      <tbody data-is="words"></tbody>
    </table>
    <fieldset>
      <legend>Look inside</legend>
      <label>Map on the image
        <select data-is="map">
          <option value="attention">attention of the last token</option>
          <option value="cam">LLaVA-CAM</option>
          <option value="none">none</option>
        </select></label>
      <label>Layer <select data-is="layer"></select></label>
      <label>Head <select data-is="head"></select></label>
    </fieldset>
  </div>
  <div class="live-tables">
    <div>
      <table>
        <caption>The same question under every cut (press one to see it); probability: of the first
          token of the uncut answer</caption>
        <thead><tr>
          <th scope="col">cut in layers</th><th scope="col">answer</th>
          <th scope="col">probability</th>
        </tr></thead>
        <tbody data-is="sweep"></tbody>
      </table>
    </div>
    <div>
      <table>
        <caption>Attention of the last token, by layer: <b class="system">system text</b>,
          <b class="image">image</b>, <b class="user">question</b>
          and the last token itself</caption>
        <tbody data-is="shares"></tbody>
      </table>
    </div>
  </div>
  <p class="live-note" data-is="cost"></p>`;

const infoflowRows = {
  words: `<tr><th scope="row"></th><td><i></i><span></span></td></tr>`,
  sweep: `<tr><th scope="row"><button type="button"></button></th><td></td>
    <td><i></i><span></span></td></tr>`,
  shares: `<tr><th scope="row"></th><td><span class="live-strip"><i class="system"></i>
    <i class="image"></i><i class="user"></i></span></td><td></td></tr>`,
};
