#!/usr/bin/env bash
# The whole road, from a folder of raw PDFs to a report: which model finds the right pages, by how much, how sure.
#
#   docs/from-pdfs-to-report.sh              # 47 PDFs, 1,209 pages; a quarter of an hour on two quiet CPU cores
#                                            # what it found: docs/benchmarks.md, "The whole road"
#   SMALL=1 docs/from-pdfs-to-report.sh      # 4 PDFs and a few steps: a minute; shows that everything works, measures nothing
#
# Run it from the root of the repository, in the environment of `make demo`. Whatever stops it (Ctrl-C, `kill -9`, a
# full disk): the same command goes on where it was. With documents of your own, replace step 1.
set -euo pipefail

# --- settings: change them here, or in the environment -------------------------------------------------------------
DATA=${DATA:-../shared/data}            # longdocs: PDFs with questions by people; govdocs: PDFs without any
OUT=${OUT:-runs/road}                   # everything is written below this folder
SMALL=${SMALL:-0}
MODEL=${MODEL:-$(python -c 'from sightline.demo.model import minilm_folder; print(minilm_folder())')}
PER_PAGE=${PER_PAGE:-1}                 # made questions per page, at most
NEGATIVES=${NEGATIVES:-1}               # mined pages that each question is trained against
EPOCHS=${EPOCHS:-3}
BATCH=${BATCH:-64}
OCR=${OCR:-missing}                     # "none" leaves pages without a text layer as they are
LIMIT=()
if [ "$SMALL" = 1 ]; then
    # Four documents of few pages; two of them have questions by people.
    only='^(0e94b4197b10096b1f4c699701570fbf|a5879805d70c854ea4361e43a84e3bb2|20080102X00002|20080108X00029)\.pdf$'
    BATCH=8
    LIMIT=(training.max_steps=2)
else
    only='\.pdf$'
fi

say() { printf '\n== %s\n' "$*"; }

# --- 1. the documents in one folder, and the questions that people asked about them ---------------------------------
say "1. documents and questions"
mkdir -p "$OUT/documents"
for file in "$DATA"/longdocs/documents/* "$DATA"/govdocs/documents/*; do
    if [[ $(basename "$file") =~ $only ]]; then ln -sf "$(realpath "$file")" "$OUT/documents/"; fi
done
# One JSON object per line: {"id", "query", "document", "pages"}. Those about documents that are not here are left out.
while IFS= read -r line; do
    document=$(sed -E 's/.*"document": "([^"]*)".*/\1/' <<<"$line")
    if [ -e "$OUT/documents/$document" ]; then printf '%s\n' "$line"; fi
done <"$DATA/longdocs/queries.jsonl" >"$OUT/questions.jsonl"
echo "$(find "$OUT/documents" -name '*.pdf' | wc -l) documents, $(wc -l <"$OUT/questions.jsonl") questions by people"

# --- 2. PDFs -> pages ----------------------------------------------------------------------------------------------
# Page images, text layers, OCR where there is no text layer (with `pip install 'sightline[ocr]'`). Whole documents are
# set aside for the test: enough of them to hold 40 % of people's questions.
say "2. pages"
sightline ingest "$OUT/documents" -o "$OUT/pages" --questions "$OUT/questions.jsonl" --test-fraction 0.4 --ocr "$OCR"

# --- 3. questions made from the text, without a language model -----------------------------------------------------
# For the training documents alone: the test has questions by people, and is not diluted.
say "3. made questions"
sightline questions "$OUT/pages" --offline --per-page "$PER_PAGE"

# --- 4. hard negatives: pages the untuned model and BM25 take for the answer, and that are none --------------------
say "4. hard negatives"
sightline mine "$OUT/pages" --model "$MODEL" --bm25 --fields text --negatives "$((NEGATIVES + 2))"

# --- 5. the data doctor --------------------------------------------------------------------------------------------
# Errors end the script. Warnings are worth reading; `sightline check PAGES --fix CLEAN` writes a copy without what they name.
say "5. check"
sightline check "$OUT/pages" --recipe recipes/minilm-text.toml --set model.name="$MODEL" --no-estimate \
    --set data.dataset="$OUT/pages" --set data.negatives="$NEGATIVES" --json "$OUT/check.json"

# --- 6. training, on made questions alone and on people's as well --------------------------------------------------
# A run that is complete is not made again; one that was stopped goes on from its newest checkpoint.
train() {
    local name=$1 && shift
    if [ -e "$OUT/$name/results.json" ]; then echo "$OUT/$name is there"; return; fi
    sightline train recipes/minilm-text.toml model.name="$MODEL" data.dataset="$OUT/pages" data.negatives="$NEGATIVES" \
        training.num_train_epochs="$EPOCHS" training.per_device_train_batch_size="$BATCH" training.save_strategy=steps \
        training.save_steps=10 training.save_total_limit=1 training.eval_strategy=no output.dir="$OUT/$name" \
        evaluation.bm25=false evaluation.untuned=false --resume "$@" "${LIMIT[@]}"
}
say "6. training on made questions"
train made 'data.origins=["offline"]'
say "6. training on made questions and people's"
train both

# --- 7. the comparison, and the report -----------------------------------------------------------------------------
# BM25, the model as it was, and both fine-tuned ones, on people's questions about documents that none of them has seen.
say "7. comparison and report"
sightline compare untuned=text:"$MODEL" bm25 made=text:"$OUT/made/final" both=text:"$OUT/both/final" --on "$OUT/pages" \
    --dims 256,128,64 -o "$OUT/results.json" --markdown "$OUT/results.md" --plot "$OUT/cost.svg" --report "$OUT/report.html"
say "done: open $OUT/report.html"
