// How good a result of the search is: prose comes before the pages of the programming interface, and
// the story before the evidence. All numbers but the last function's are Sphinx's own.
var Scorer = {
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
  score([page, , , , score]) {
    if (page.startsWith("book/api/")) return score - 1000;
    return page.startsWith("book/story/") ? score + 1 : score;
  },
};
