// Text to token ids and back, by the rules of the model's own tokenizer.json.
"use strict";

/** Rules as export.py reads them: vocabulary, pattern of a token, what is closed up afterwards. */
function infoflowTokens({ vocabulary, pattern, closing, special, unknown }) {
  const ids = new Map(vocabulary.map((word, id) => [word, id]));
  const token = new RegExp(pattern, "gu");
  const replaced = closing.map(([find, by, isPattern]) => [
    isPattern ? new RegExp(find, "gu") : find,
    by,
  ]);
  const pieces = (text) => text.match(token) ?? [];

  return {
    /** Ids of a text. Special tokens stand in no question: the conversation around it has them. */
    encode(text) {
      const mark = special.find((each) => text.includes(each));
      if (mark) throw Error(`Leave out ${mark}: it is a mark of the conversation.`);
      return pieces(text).map((word) => ids.get(word) ?? ids.get(unknown));
    },
    decode(tokens) {
      const words = tokens.map((id) => vocabulary[id]).filter((word) => !special.includes(word));
      return replaced
        .reduce((text, [find, by]) => text.replaceAll(find, by), words.join(" "))
        .trim();
    },
    /** Words of a text that the model has never seen. */
    strange: (text) => [...new Set(pieces(text).filter((word) => !ids.has(word)))],
  };
}
