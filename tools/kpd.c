// kpd.c - the command line of kpd. One binary over the public API of kpd.h and kpd_train.h, but for
// kernels.h, which times what lies inside.
//
//     kpd help             what there is          kpd help COMMAND     how it is used, with an example
//
// Text comes from a file or, for `-` and for no file, from the standard input: a text a line, a TAB between its columns, or CSV
// or JSON lines (table.h). Any bytes are text, an empty line is an empty text, one CR before the LF is dropped. Lines are read
// in chunks, so that memory does not grow with the file. Files are written beside their place and renamed when whole, so that
// a failure or a stop leaves what was there. A file that -o names is replaced, one in a folder only with --force, an input
// never.
// Exit status: 0 done, 1 something is wrong with the data or a file, 2 with the command.
// `kpd demo` does the whole job by these commands, as a recipe of `kpd run`.
//
// This file has the table of commands and runs one; what a command does stands in the file of its family, cmd_*.h.
#define _POSIX_C_SOURCE 200809L
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE                    // for sched_getaffinity
#endif
#define _DARWIN_C_SOURCE               // for flock
#define KPD_THREADS
#include "../kpd_train.h"
#include "cpus.h"
#include "files.h"
#include "hf.h"
#include "kernels.h"
#include "npy.h"
#include "recipe.h"
#define SHOP_IMPLEMENTATION
#include "shop.h"
#include "table.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "bm25.h"
#include "job.h"
#include "cmd_model.h"
#include "cmd_text.h"
#include "cmd_bench.h"
#include "cmd_index.h"
#include "cmd_train.h"
#include "cmd_shop.h"
#include "cmd_label.h"
#include "cmd_recommend.h"
#include "cmd_eval.h"
#include "cmd_sell.h"
#include "cmd_retrieval.h"
#include "cmd_ann.h"
#include "cmd_mine.h"
#include "cmd_cluster.h"
#include "cmd_llm.h"
#include "help.h"
#include "parse.h"
#include "pipeline.h"
#include "cmd_run.h"
#include "cmd_demo.h"

// >>commands ---------------------------------------------------------------------------------------------------------

static const command COMMANDS[] = {
    {"Begin here", "demo", run_demo, 0, 1, "--items --queries --seed --force",
     "the whole job on an invented shop, trained and measured in minutes",
     "demo [DIR] [--items N] [--queries N] [--seed S] [--force]",
     "Does the whole job in the folder DIR (kpd-demo): makes a shop of N (6000) items and N (4000) keyphrases, trains an\n"
     "assistant on an LLM's labels, a student on clicks alone and one on labels, clicks and the assistant, recommends\n"
     "keyphrases with both, and compares them under the LLM and under the truth. It writes DIR/demo.ini, a recipe of `kpd\n"
     "run`, and runs it: what is done already stays, and the recipe can be changed. A demo of another shop is replaced only\n"
     "with --force. Without --threads at most 8 are used.\n\n"
     "    kpd demo"},
    {NULL, "run", run_run, 1, 1, "--delta --dry-run --times --force --jobs --only --dir --set",
     "a pipeline of commands, as a recipe says; what is up to date stays",
     "run RECIPE.ini [--delta] [--force] [--jobs N] [--only STAGE]... [--dir DIR] [--set NAME=VALUE]...\n"
     "kpd run RECIPE.ini [--dry-run | --times] [...]",
     "Runs the stages of a recipe, one after another, in the folder DIR, to which names of files are relative. A stage is a\n"
     "command of kpd:\n\n"
     "    [set]\n"
     "    seeds = 1 2 3\n"
     "    [stage student]\n"
     "    foreach seed = ${seeds}\n"
     "    run = train student.${seed}.ini\n"
     "    write student.${seed}.ini =\n"
     "        [model]\n"
     "        start = base/last.kpd ...\n\n"
     "A line that begins with a blank goes on with what is above it. run: a command line without kpd, with > FILE at its end\n"
     "where the command has no -o. foreach: a stage for each word; several make all combinations, and one may name those above\n"
     "it, ${of.${kind}}. write: a text that becomes a file, as a training's recipe. ${NAME}: of foreach, of --set or of [set],\n"
     "where a name may hold another, ${loss.${kd}}; ${here} is the recipe's folder. A word of run with * is all files of such\n"
     "names that stages write.\n"
     "What reads a file comes behind what writes it. A stage runs only where its command line, the content of a file that it\n"
     "reads or wrote, or kpd's version is not what it was when it last ended: kpd-run.stamps in DIR keeps that. A training that\n"
     "was stopped goes on from its checkpoint, any other stage begins anew, and the files at the end are the same. Two stages\n"
     "that write one file, a circle, a missing file, a word that no command knows, a text of write that was changed by hand\n"
     "since are errors with their line before anything runs. --dry-run says what would run, and why; --times, what the stages\n"
     "of each name took that ran to their end (a training, from its last stop on): how many, seconds, and CPU seconds.\n"
     "--only STAGE, once or more, runs this one (student, or 'student 2') and what it needs; --force runs also what is up to\n"
     "date. --jobs N runs up to N stages at a time, with as many threads each as --threads says or the processors give, and\n"
     "without a word but of what --delta brings up to date: small models train faster so. --threads, --simd and --quiet hold\n"
     "for all stages.\n"
     "--delta, for each day's changes: an index of `index build` of which nothing but the keyphrases has changed is brought up\n"
     "to date (--update), and lists of `recommend` of which nothing but the items, and an index that a stage makes so\n"
     "(--earlier-items): new keyphrases are embedded, lists are made of items that are new or had a keyphrase that is gone,\n"
     "and how many of the others are stale is said. What else reads what has changed runs whole, and so does a stage whose own\n"
     "write has changed. Items as they were are kept in DIR/kpd-run.items from the first --delta on; without this folder all\n"
     "lists are made once more. Where a run is killed, the next may make more anew than it had to. Without --delta such an\n"
     "index and such lists are made anew.\n\n"
     "    kpd run paper.ini --dir out --set seeds=1 --dry-run"},
    {"Models", "import", run_import, 1, 1,
     "-o --dtype --wide-qkv --calibrate --tower --columns --format --template-item --template-keyphrase --template-pair "
     "--max-tokens",
     "a model out of a downloaded sentence-transformers or transformers folder",
     "import DIR -o M.kpd [--dtype f32|bf16|int8] [--wide-qkv]\n"
     "           [--calibrate FILE [--tower item|keyphrase] [--columns WORDS] [--format F]]\n"
     "           [--template-item T] [--template-keyphrase T] [--template-pair T] [--max-tokens N]",
     "Makes a model of a downloaded sentence-transformers or transformers folder; nothing is fetched, and what kpd does\n"
     "not do as these is refused by name. A template is text with {title} {category} {keyphrase}, the vocabulary's special\n"
     "tokens {sep} {cls} {unk} {mask} {pad}, and | where a pair's second segment begins; without one the folder's holds, or\n"
     "else kpd's. The rest is as in `kpd help convert`.\n\n"
     "    kpd import all-MiniLM-L6-v2 -o minilm.kpd --template-item '{title} {sep} {category}'"},
    {NULL, "convert", run_convert, 1, 1, "-o --dtype --wide-qkv --calibrate --tower --columns --format",
     "a model with weights of another type, smaller and faster",
     "convert M.kpd -o M2.kpd [--dtype f32|bf16|int8] [--wide-qkv]\n"
     "            [--calibrate FILE [--tower item|keyphrase] [--columns WORDS] [--format F]]",
     "Writes the model with weights of another type: bf16 is half as large, int8 a quarter, and both are faster where the\n"
     "processor has instructions for them. --wide-qkv keeps the inputs of query, key and value at 16 bits: more accurate,\n"
     "slower. int8 needs to know how large the inputs of its matrices get: --calibrate takes the first 1024 lines of FILE, in\n"
     "the form that `embed` or `score` reads; without it random tokens serve.\n\n"
     "    kpd convert minilm.kpd -o minilm-int8.kpd --dtype int8 --calibrate titles.txt"},
    {NULL, "export", run_export, 1, 1, "-o",
     "a folder for sentence-transformers or transformers out of a model",
     "export M.kpd -o DIR",
     "Writes a folder which sentence-transformers (bi-encoder) or transformers (cross-encoder) loads.\n\n"
     "    kpd export student.kpd -o student-folder"},
    {NULL, "info", run_info, 1, 1, "",
     "what a model or index is, every byte checked",
     "info FILE",
     "Says what a model or an index is, after checking every byte of it: the last line is `verified`.\n\n"
     "    kpd info minilm.kpd"},
    {"Texts", "embed", run_embed, 1, 2, "-o --dim --tower --one --columns --format",
     "vectors of texts",
     "embed M.kpd [FILE] [-o OUT.npy] [--dim D] [--tower item|keyphrase] [--one]\n"
     "          [--columns WORDS] [--format F]",
     "Embeds each line: title, or title TAB category, of an item; or with --tower keyphrase a keyphrase. Writes float32\n"
     "[lines, D], or without -o a line of D numbers for each. An empty category is none, and one that the model's template\n"
     "does not name is left out. D less than the model's takes the first columns, normalised.\n"
     "--one embeds one text at a time, as a program does that answers queries: the vectors are the same, and --stats adds the\n"
     "median and the 99th percentile of the texts' times.\n\n"
     "    kpd embed student.kpd items.tsv -o items.npy --dim 64"},
    {NULL, "score", run_score, 1, 2, "--dim --keep --columns --join --format",
     "a model's scores of pairs",
     "score M.kpd [FILE] [--dim D] [--keep] [--columns WORDS] [--join ITEMS] [--format F]",
     "Prints a cross-encoder's logit (or logits, with a TAB between them), or the cosine of a bi-encoder's vectors, of each\n"
     "line: keyphrase TAB title TAB category, or keyphrase TAB title, as an empty category is none. What the model's\n"
     "template does not name is left out.\n"
     "--keep: lines have a label at their end, and are printed with the cosine, or the logit's probability of yes, behind it, as\n"
     "`eval pairs` and a recipe's column `score` read it. Where --columns names a score too, it stays between label and result.\n\n"
     "    printf 'laptop sleeve\\tGrey Felt Sleeve 13 inch\\tLaptop Sleeves\\n' | kpd score assistant.kpd"},
    {NULL, "rerank", run_rerank, 3, 3, "-o -k --columns --format",
     "documents in the order of their scores for a query",
     "rerank M.kpd QUERY DOCUMENTS [-o OUT.tsv] [-k K] [--columns WORDS] [--format F]",
     "Prints the documents, all or the K best, in the order of a cross-encoder's logits, or of a bi-encoder's cosines: query\n"
     "row from 0 TAB rank from 1 TAB document row from 0 TAB score TAB document. DOCUMENTS: title, or title TAB category, a\n"
     "line. QUERY: a file of keyphrases, one a line, or where there is no such file a keyphrase itself.\n\n"
     "    kpd rerank assistant.kpd 'laptop sleeve' titles.txt -k 5"},
    {NULL, "tokenize", run_tokenize, 1, 2, "--no-special --max-tokens --offsets",
     "token ids of texts",
     "tokenize M.kpd [FILE] [--no-special] [--max-tokens N] [--offsets]",
     "Prints the token ids of each line: of 1 to 3 segments with a TAB between them, without the model's template and uncut\n"
     "unless --max-tokens says otherwise. With --offsets, ID:SEGMENT:BEGIN-END for each that stands in a segment: its bytes\n"
     "from BEGIN up to END, counted from 0 as segments are.\n\n"
     "    echo 'yellow iphone' | kpd tokenize minilm.kpd"},
    {"Keyphrases for items", "index build", run_index_build, 1, 2,
     "-o --kind --dim --metric --store --lists --recall --partition --columns --format --ids --model --update",
     "an index of keyphrases, or of vectors",
     "index build STUDENT.kpd KEYPHRASES.txt -o INDEX.kpi [--kind flat|tree] [--dim D] [--metric cosine|dot|l2]\n"
     "                [--store f32|i16|int8|none] [--lists N] [--recall R] [--partition P] [--columns WORDS] [--format F]\n"
     "                [--update]\n"
     "kpd index build VECTORS.npy -o INDEX.kpi [--ids FILE] [--model STUDENT.kpd] [--kind ...]",
     "Embeds keyphrases, one a line, and keeps them in the index, by which `search` and `recommend` then give words. A line\n"
     "may be id TAB keyphrase (an id is a 64-bit integer); else ids are 0, 1, 2, ... D less than the model's takes the first\n"
     "columns. Or of float32 vectors, .npy or .fvecs: --ids FILE has an id a line, and --model keeps the fingerprint of the\n"
     "student whose keyphrases these are, so that `recommend` refuses another one (but conversions of it), as it does with\n"
     "texts. Of equal ids the last wins. A flat index compares a query with all vectors. A tree has N lists of near ones (one\n"
     "for 160, beyond 650,000 vectors fewer), opens those that may have one of the K best, and finds about R (0.95) of these;\n"
     "it keeps vectors as --store says, none: by 4 bits a number alone. What is best is as these tell: of 10 titles that f32\n"
     "finds i16 has 10, int8 9.8, none 7.9. A flat one of --store int8 finds the same as one of f32, faster. All vectors of a\n"
     "tree are in memory while it is made. A partition, of a language or a shop, say, is what `search --partition` looks for.\n"
     "--update: the index that is there, of the same student and options, is brought up to date. Keyphrases that have a new\n"
     "id, or another text than before, are embedded, and those that are gone are removed; ids whose text is the same keep their\n"
     "vector and partition, whoever set them. A tree keeps its lists, whatever --lists, until a third of its room is empty.\n"
     "Without ids a line that is put in moves all below it.\n\n"
     "    kpd index build student.kpd keyphrases.txt -o keyphrases.kpi --dim 64 --kind tree"},
    {NULL, "index add", run_index_add, 2, 3, "--partition --ids --columns --format",
     "adds keyphrases or vectors, or replaces them",
     "index add INDEX.kpi STUDENT.kpd KEYPHRASES.txt [--partition P] [--columns WORDS] [--format F]\n"
     "kpd index add INDEX.kpi VECTORS.npy --ids FILE",
     "Adds what `index build` reads, or replaces those whose id is there; keyphrases without ids get those behind the\n"
     "greatest. All get the partition P, or what is new that of the index. Waits while another kpd changes the index.\n\n"
     "    kpd index add keyphrases.kpi student.kpd new.txt"},
    {NULL, "index remove", run_index_remove, 2, 2, "",
     "removes ids",
     "index remove INDEX.kpi IDS",
     "Removes the ids of a file, one a line. Those that are not there are not an error. Waits while another\n"
     "kpd changes the index.\n\n"
     "    kpd index remove keyphrases.kpi gone.txt"},
    {NULL, "index compact", run_index_compact, 1, 1, "",
     "makes an index anew of what it holds",
     "index compact INDEX.kpi",
     "Makes an index of which much was added, replaced or removed as small and fast as a new one. Waits while another kpd\n"
     "changes the index.\n\n"
     "    kpd index compact keyphrases.kpi"},
    {NULL, "index merge", run_index_merge, 2, 8, "",
     "takes other indexes into one",
     "index merge INDEX.kpi OTHER.kpi ...",
     "Takes the vectors, texts and partitions of up to 7 others into the index, with their ids: of equal ones those of the\n"
     "last file. The others may be of any kind; their dim, metric and student must be the index's. Waits while another kpd\n"
     "changes the index.\n\n"
     "    kpd index merge keyphrases.kpi monday.kpi tuesday.kpi"},
    {NULL, "index tune", run_index_tune, 2, 2, "-k --recall",
     "how far a tree must be opened, by queries",
     "index tune INDEX.kpi QUERIES.npy [-k K] [--recall R]",
     "Finds by queries how far a tree must be opened to find R (0.95) of the K (10) best, and with how many of its blocks\n"
     "and candidates that is least work, and keeps it in the index, for searches with such a recall. Waits while another\n"
     "kpd changes the index.\n\n"
     "    kpd index tune keyphrases.kpi items.npy --recall 0.99"},
    {NULL, "index info", info_index, 1, 1, "",
     "what an index is, every byte checked",
     "index info INDEX.kpi",
     "Says what an index is, after checking every byte of it.\n\n"
     "    kpd index info keyphrases.kpi"},
    {NULL, "search", run_search, 2, 3,
     "-o -k --threshold --recall --gamma --filter --partition --one --tower --columns --format",
     "the nearest in an index, by words or vectors",
     "search STUDENT.kpd INDEX.kpi TEXT [-o OUT.tsv] [-k K] [--threshold T] [--recall R | --gamma G]\n"
     "           [--filter FILE] [--partition P] [--one] [--tower item|keyphrase] [--columns WORDS]\n"
     "           [--format F]\n"
     "kpd search INDEX.kpi QUERIES.npy [-o OUT.tsv] [-k K] [--one] ...",
     "Prints the K (10) best of each query, with a score of at least T: query row from 0 TAB rank from 1 TAB keyphrase TAB\n"
     "score, or of vectors id TAB score. TEXT is a file of items, title or title TAB category (of keyphrases with --tower\n"
     "keyphrase), or where there is no such file a text itself.\n"
     "A score is larger when nearer: cosine, product, or minus the squared distance. A flat index finds all; a tree about a\n"
     "share of R of the K best, all with 1. G says directly how far it is opened: where score + G * radius may count.\n"
     "--filter looks only among the ids of FILE, one a line, --partition among those of partition P. --one embeds and searches\n"
     "for one query a call, and --stats adds the median and the 99th percentile of their times.\n\n"
     "    kpd search student.kpd keyphrases.kpi 'Grey Felt Sleeve 13 inch' -k 5"},
    {NULL, "recommend", run_recommend, 3, 4,
     "-o -k --threshold --min-similarity --by-relevance --same-words --columns --format --keyphrases"
     " --earlier-items --earlier-lists",
     "keyphrases for items: search, filter, rank",
     "recommend STUDENT.kpd ASSISTANT.kpd|- INDEX.kpi [ITEMS] [-o OUT.tsv] [-k K]\n"
     "              [--threshold T] [--min-similarity S] [--by-relevance] [--same-words]\n"
     "              [--columns WORDS] [--format F] [--keyphrases FILE] [--earlier-items ITEMS --earlier-lists LISTS]",
     "Recommends keyphrases for items. ITEMS: a file of title, or title TAB category; or where there is no such file a title\n"
     "itself. Takes the K (10) nearest keyphrases with a similarity of at least S, drops duplicates (--same-words: in any\n"
     "order), drops those to which the assistant (- = none) gives a relevance below T, a probability. Prints item row from 0\n"
     "TAB rank from 1 TAB keyphrase TAB similarity TAB relevance (- without an assistant), by similarity or --by-relevance.\n"
     "--keyphrases is of an index that keeps none: id TAB keyphrase, or keyphrases alone, whose ids are 0, 1, 2, ... Some are\n"
     "embedded again, to see that they belong to their ids.\n"
     "For the daily change: of --earlier-items, an earlier ITEMS, this command printed --earlier-lists, which -o may replace;\n"
     "an item that stands there keeps its list, unless a keyphrase of it is gone from the index, and only the others cost\n"
     "anything. A list that is kept knows nothing of keyphrases that the index has got since, nor of other models or options:\n"
     "one of 64 is made anew to see, and how many are stale is said.\n\n"
     "    kpd recommend student.kpd assistant.kpd keyphrases.kpi items.tsv -k 20 --threshold 0.5"},
    {"Labels", "label ctr", run_label_ctr, 0, 1,
     "-o --threshold --min-impressions --weights --all --bad --columns --join --format",
     "pairs that are clicked, out of a log",
     "label ctr [LOG] [-o OUT.tsv] [--threshold T] [--min-impressions N] [--weights W1,W2,...]\n"
     "              [--all] [--bad FILE] [--columns WORDS] [--join ITEMS] [--format F]",
     "Writes the pairs of a log whose click-through rate is over T (0.05): keyphrase TAB title TAB category, for mnr.\n"
     "A line: keyphrase TAB title TAB category TAB impressions TAB clicks, and perhaps TAB position. Rows of a pair follow\n"
     "each other, and are added up; at most 100 bytes a pair are held, of the log nothing. --weights: how likely a buyer looks at\n"
     "position 1, 2, ..., the last also beyond; the rate is clicks / the sum of impressions times weight. That a pair is not\n"
     "clicked says little, so negatives come only with --all. Negative counts, more clicks than impressions, a pair that\n"
     "comes again elsewhere: the first is an error, or with --bad all go there (line TAB why TAB row) and are counted.\n\n"
     "    kpd label ctr log.tsv -o ctr.tsv --min-impressions 20 --weights 1,0.6,0.4,0.3"},
    {NULL, "label sr", run_label_sr, 0, 1, "-o --threshold --bad --columns --join --format",
     "labels by a search engine's scores",
     "label sr [SCORES] --threshold T [-o OUT.tsv] [--bad FILE] [--columns WORDS] [--join ITEMS] [--format F]",
     "Writes keyphrase TAB title TAB category TAB label, which is 1 where the score is at least T. A line of SCORES has the\n"
     "score in place of the label. A pair that comes again with the same label is written once; one with the other label is\n"
     "an error, or with --bad is set aside, as what has no score (line TAB why TAB row).\n\n"
     "    kpd label sr scores.tsv --threshold 0.6 -o sr.tsv"},
    {NULL, "label group", run_label_group, 0, 1, "-o --columns --join --format",
     "the pairs of each item together, for losses over lists",
     "label group [PAIRS] [-o OUT.tsv] [--columns WORDS] [--join ITEMS] [--format F]",
     "Puts the pairs of an item together, those with a yes (a label from .5 on) first, as margin-mse, kl and ranknet want them\n"
     "(batching = by-query), and leaves out items that have no yes, or one pair alone. A line: keyphrase TAB title TAB\n"
     "category TAB label, and perhaps TAB a teacher's score, as `score --keep` prints it. Writes the item's number, in which\n"
     "those left out count too, TAB the line, which a recipe reads as query keyphrase title category label score. All pairs are\n"
     "in memory.\n\n"
     "    kpd score assistant.kpd llm.tsv --keep > soft.tsv\n"
     "    kpd label group soft.tsv -o lists.tsv"},
    {NULL, "label agreement", run_label_agreement, 2, 3, "-o --format",
     "how far two sources of labels agree",
     "label agreement FIRST SECOND [LOG] [-o OUT.tsv] [--format F]",
     "Prints how far the labels of two sources agree on the pairs that both have: n, the four counts, per cent, and Cohen's\n"
     "kappa, which is 0 for chance. A line: keyphrase TAB title TAB category TAB label, yes from .5 on; a pair that comes again\n"
     "counts once. With the LOG of `label ctr` also on pairs that were clicked, that were shown and not clicked, and that it\n"
     "does not have, and by tenths of an item's impressions.\n\n"
     "    kpd label agreement llm.tsv sr.tsv log.tsv"},
    {NULL, "llm prompts", run_llm_prompts, 0, 1,
     "-o --prompt --llm --answer-tokens --logprobs --columns --join --format",
     "questions for a language model",
     "llm prompts [PAIRS] [-o PROMPTS.jsonl] [--prompt FILE] [--llm NAME] [--answer-tokens N]\n"
     "                [--logprobs] [--columns WORDS] [--join ITEMS] [--format F]",
     "Writes a question for each pair, keyphrase TAB title, perhaps TAB category, as requests of OpenAI's Batch interface; a\n"
     "pair that comes again is asked once. FILE has the text, with {keyphrase}, {title} and perhaps {category} in it. Without\n"
     "one it is the paper's: Given an item with title: \"{title}\", determine whether the keyphrase: \"{keyphrase}\", is\n"
     "relevant for cpc targeting or not by giving ONLY yes or no answer. tools/llm_run.py asks a server of this interface.\n\n"
     "    kpd llm prompts pairs.tsv -o prompts.jsonl --llm mixtral-8x7b-instruct\n"
     "    python3 tools/llm_run.py prompts.jsonl answers.jsonl --url http://localhost:8000"},
    {NULL, "llm answers", run_llm_answers, 2, 2, "-o --of --yes --no --soft --price --bad --columns --join --format",
     "labels out of a language model's answers",
     "llm answers PAIRS ANSWERS.jsonl [-o OUT.tsv] [--of PROMPTS.jsonl] [--yes WORDS] [--no WORDS] [--soft]\n"
     "                [--price IN,OUT] [--bad FILE] [--columns WORDS] [--join ITEMS] [--format F]",
     "Writes keyphrase TAB title TAB category TAB label for each pair that has an answer. The first word tells, in any case;\n"
     "or else, if only one of both kinds stands in the answer, that one; what stands before </think> does not count.\n"
     "Refusals, what is neither, and failed requests are counted, so are tokens. --soft: the label is the probability of yes\n"
     "against no at the first token that is one of them, where the answers have logprobs. A line that is no JSON, an answer to\n"
     "none of the pairs, a second answer that contradicts: the first is an error, or with --bad all go there, as do refusals\n"
     "(line TAB why TAB the line, if it is still known). Answers to another prompt are an error, unless --of says which prompts\n"
     "are meant. At most 100 bytes an answer are held.\n\n"
     "    kpd llm answers pairs.tsv answers.jsonl -o llm.tsv --bad unclear.tsv"},
    {"Training", "vocab", run_vocab, 1, ANY_NUMBER, "-o --size --min-count --cased --columns --format",
     "a WordPiece vocabulary out of texts",
     "vocab CORPUS... -o vocab.txt [--size N] [--min-count N] [--cased] [--columns WORDS] [--format F]",
     "Makes a WordPiece vocabulary of up to N (8000) tokens out of the lines of all files; a TAB is a space. What occurs less\n"
     "than --min-count (2) times becomes no token, but for characters. --cased keeps upper case and accents.\n\n"
     "    kpd vocab titles.txt keyphrases.txt -o vocab.txt --size 30000"},
    {NULL, "train", run_train, 1, 1, "--resume --force --export",
     "a model, as a recipe says",
     "train RECIPE.ini [--resume | --force | --export M.kpd]",
     "Trains a model as a recipe says, into a folder (the recipe's name without .ini): metrics.tsv, a row a step;\n"
     "checkpoint.kpc, from which --resume goes on to the same bits as if nothing had happened; at the end last.kpd; and with\n"
     "[dev], which is looked at before the first step too, best.kpd as soon as there is a best. --export makes a model of the\n"
     "checkpoint as it is, also while another kpd trains. A folder that holds a training is refused: --resume goes on with it\n"
     "(from the beginning where there is no checkpoint yet), --force deletes it. The recipe, what its models and data hold\n"
     "must be what they were, also where the training has ended. Ctrl-C, TERM and HUP let the step end and write a checkpoint;\n"
     "the exit status is then 1, since the model is not there. A second Ctrl-C kills. At the end it says how many rows were\n"
     "seen, how often one came again (in a later epoch, or at the head of a piece of its query), and how many were left out.\n\n"
     "    kpd train student.ini --threads 8"},
    {NULL, "gradients", run_gradients, 1, 1, "-o -n",
     "whether the losses of a recipe pull together",
     "gradients RECIPE.ini [-o OUT.tsv] [-n N]",
     "Draws N (50) batches of each data set as a training would, and takes the gradient of each of its losses by itself, at the\n"
     "weights with which the recipe begins: nothing is trained. Prints a line a loss: data set, loss, batches, the mean of its\n"
     "value, the length of its mean gradient, the cosine between the gradients of every other batch and of the rest, which is\n"
     "near 1 where N tells enough, and the cosines with all losses: below 0 they pull apart. A loss weighs by its length, and\n"
     "by how many of the batches are of its data set. With a trained model as start it says what holds there. Without dropout;\n"
     "heads of mlm and softmax are among the weights. Needs 8 bytes a weight and loss beside what a training takes.\n\n"
     "    kpd gradients student.ini"},
    {NULL, "mine", run_mine, 3, 3,
     "-o -n --bm25 --ranks --max-score --min-score --margin --relative-margin --sample --seed --assistant --threshold --relabel --dim "
     "--recall --gamma --columns --join --format",
     "hard negatives for pairs, to be trained on",
     "mine STUDENT.kpd INDEX.kpi|KEYPHRASES.txt PAIRS [-o OUT.tsv] [-n N] [--bm25] [--ranks A-B]\n"
     "         [--max-score S] [--min-score S] [--margin M] [--relative-margin M] [--sample [--seed S]]\n"
     "         [--assistant A.kpd [--threshold T] [--relabel FILE]] [--dim D] [--recall R | --gamma G]\n"
     "         [--columns WORDS] [--join ITEMS] [--format F]",
     "Finds for each pair up to N (4) keyphrases that the student takes for the item's and that are not: hard negatives.\n"
     "PAIRS: keyphrase TAB title TAB category TAB label; the last two may be missing, and rows with a label below 0.5 are left\n"
     "out. Keyphrases come from an index that keeps them, or from a file, one a line, that is embedded. Candidates are those\n"
     "of rank A to B (1-100) of what is found for the item, but its own in any pair; of equal ones the first; with scores of\n"
     "--min-score to --max-score, and below that of the pair's keyphrase by at least --margin, or by --relative-margin times\n"
     "that. The N highest are taken, or with --sample any N. An assistant drops those whose probability is at least T (0.5);\n"
     "--relabel writes these as keyphrase TAB title TAB category TAB probability. Prints keyphrase TAB title TAB category TAB\n"
     "N negatives, empty where there are fewer: in a recipe `columns = keyphrase title category negative negative ...`. Says\n"
     "what was dropped and why. PAIRS are read twice, and their keyphrases held in memory. --bm25: candidates are those of a\n"
     "file that share words with the title, ranked by BM25 (k1 1.2, b .75) over the student's tokens; scores are BM25's.\n\n"
     "    kpd mine student.kpd keyphrases.kpi clicks.tsv -o hard.tsv --ranks 10-100 --relative-margin 0.05"},
    {NULL, "cluster", run_cluster, 2, 2, "-o -n --seed --dim --columns --join --format", "pairs whose items are alike, for batches of them",
     "cluster STUDENT.kpd PAIRS [-o OUT.tsv] [-n N] [--seed S] [--dim D] [--columns WORDS]\n"
     "            [--join ITEMS] [--format F]",
     "Puts pairs whose items lie near each other behind one another, so that each is a hard negative of the others in its\n"
     "batch [NGAME, Dahiya 2023]: k-means of the items' vectors, into clusters of N (16) pairs on average. PAIRS as for mine:\n"
     "rows with a label below 0.5 are left out. Prints keyphrase TAB title TAB category TAB number of the cluster, in order of\n"
     "these: in a recipe `columns = keyphrase title category query` and `batching = by-query`, where a batch of 64 is some\n"
     "four clusters, others in each epoch. All pairs are held in memory; each is compared with every cluster, up to 11 times.\n\n"
     "    kpd cluster student.kpd clicks.tsv --dim 64 -o clusters.tsv"},
    {"How good it is", "eval pairs", run_eval_pairs, 0, 1,
     "-o --threshold --dev --model --dim --against --columns --join --format",
     "how well scores, or a model, tell labels, with intervals",
     "eval pairs [FILE[,FILE...]] [-o OUT.tsv] [--threshold T | --dev FILE[,...]]\n"
     "               [--against FILE[,...]] [--columns WORDS] [--format F]\n"
     "kpd eval pairs FILE --model M.kpd[,...] [--dim D] [--against M2.kpd[,...]] [--dev FILE]\n"
     "               [--join ITEMS] ...",
     "Prints how well scores tell labels, with 95 % bootstrap intervals: F1, precision, recall, accuracy and MCC at a\n"
     "threshold; AP, AUC, calibration error (of probabilities), Pearson, Spearman. A line: score TAB label, or these TAB the\n"
     "assistant's score, with which the score is then correlated too, or these TAB query. A label is 0 to 1, yes from .5 on.\n"
     "Where queries are known (--columns 'score label query' if there is no assistant), auc_in_query is the AUC of one\n"
     "query's pairs, weighted by their number, ndcg_in_query the mean over queries whose labels differ of NDCG over all their\n"
     "pairs, the labels being the gains, and a resample draws queries, else pairs. The threshold is T, or that of the best F1\n"
     "on --dev (of the same columns), or else of the best F1 of what is measured. With --model the first column gives way to\n"
     "keyphrase TAB title TAB category, the query being the keyphrase, and the score is the model's: a bi-encoder's cosine,\n"
     "of D columns, or a cross-encoder's probability.\n"
     "--against: a second system's scores of the same pairs, or its model, and the paired differences, first minus second,\n"
     "with p. Names with commas between them are runs (training seeds) of one system: figures are means over them, and runs\n"
     "are drawn too, the same of both systems; one of --against stands beside each, as a system that has no seeds (so too in\n"
     "eval auction and simulate sell). --dev has a file for each file of scores. 10000 resamples up to 2000 pairs (of all\n"
     "runs), fewer beyond, at least 1000.\n\n"
     "    kpd eval pairs test.tsv --model student.kpd --dim 64 --dev dev.tsv --against other.kpd"},
    {NULL, "eval auction", run_eval_auction, 2, 2,
     "-o --filter --threshold --against --other-judge --items --log --deciles --model --dim",
     "what a judge makes of recommendations, with intervals",
     "eval auction RECOMMENDATIONS.tsv[,...] JUDGE.tsv [-o OUT.tsv] [--threshold T [--filter FILE]] [--items N]\n"
     "                 [--against RECOMMENDATIONS2.tsv[,...] | --other-judge FILE]\n"
     "                 [--log FILE] [--deciles FILE] [--model STUDENT.kpd [--dim D]]",
     "Prints what a judge makes of the lists of `kpd recommend` (without --threshold, so that all are there), with 95 %\n"
     "bootstrap intervals over items: kp, the median of an item's survivors, and their mean; pr, survivors that pass, of all\n"
     "and as a mean of items; pass@k, of the first k before the filter. JUDGE.tsv: item row TAB keyphrase TAB 0..1, pass from\n"
     ".5 on; what it does not know does not pass, and is counted as unjudged. Survivors are those whose relevance, or whose\n"
     "value in FILE, of the judge's form, is at least T; without T all. N items were asked for: those without a line count.\n"
     "Before the filter: uniqueness, different keyphrases / recommended ones. With --log (of `label ctr`) the shares of\n"
     "head, the tenth of its keyphrases with the most impressions, of tail, the half with the fewest and what it has not, and\n"
     "of novel, which nobody clicked. With --model cosine, the mean of any two keyphrases of a list. --deciles: by tenths of\n"
     "the items. --against prints a second system's figures and the paired differences, first minus second, with p;\n"
     "--other-judge the same of another judge. Names with commas between them are runs (training seeds), which are drawn too;\n"
     "ratios are of sums over them, kp is their mean. 10000 resamples up to 2000 items (of all runs), fewer beyond, at least\n"
     "1000.\n\n"
     "    kpd eval auction new.tsv judge.tsv --filter search.tsv --threshold 0.5 --against old.tsv"},
    {NULL, "eval retrieval", run_eval_retrieval, 2, 2, "-o -k --at --per-query --against --dim --split",
     "how good ranked documents are by judgements, with intervals; BEIR",
     "eval retrieval QRELS RUN [-o OUT.tsv] [--at K1,K2,...] [--per-query FILE] [--against RUN2]\n"
     "kpd eval retrieval MODEL.kpd FOLDER [-k K] [--dim D] [--split NAME] [-o OUT.tsv] ...",
     "Prints NDCG, MAP, recall, precision and MRR of the first K (10, 100) documents of a query, and MAP and MRR of all,\n"
     "as means over queries with 95 % bootstrap intervals. QRELS: query document grade, or TREC's query iteration document\n"
     "grade; above 0 is relevant. RUN: query document score; TREC's six columns, of which the score counts, not the rank;\n"
     "or what `recommend`, `search` or `rerank` print, by its rank. TABs stand between them, or in a line without TABs\n"
     "spaces. A first line may name them: query-id corpus-id score, query document rank. Of equal scores the greater id is\n"
     "first. Figures are trec_eval's: NDCG has linear gains, as BEIR's; MAP is divided by all relevant documents, also at K.\n"
     "But a query that RUN lacks counts as 0 (as trec_eval -c), and one without relevant documents is in no mean (there 0).\n"
     "--against as in `eval auction`, with paired differences.\n"
     "FOLDER, of BEIR's form, has corpus.jsonl, queries.jsonl and qrels/test.tsv: the model embeds documents (title and\n"
     "text, as an item's title) and judged queries (as keyphrases). The K (100) best of an exact search are the run, without\n"
     "a document of the query's own id. All vectors are in memory.\n\n"
     "    kpd eval retrieval minilm.kpd scifact --at 10,100"},
    {NULL, "eval ann", run_eval_ann, 2, 3, "-o -k --recall --gamma",
     "what an index finds of the true best, and how fast",
     "eval ann INDEX.kpi QUERIES.npy [TRUTH.ivecs] [-k K] [--recall R | --gamma G] [-o OUT.tsv]",
     "Prints, for recalls of .8, .9, .95, .99 and 1, or R or G alone, what share of the true K (10) best is found, its mean\n"
     "over queries with a 95 % bootstrap interval; queries a second in one call, the better of two; and milliseconds of one\n"
     "query a call, the median and the 99th percentile, of as many as three seconds are enough for. The true best are those of\n"
     "an exact search of what the index keeps, or the ids of TRUTH.ivecs, a row for each query, the best first. Queries and\n"
     "results are all in memory. For figures of one core: --threads 1, and a quiet machine.\n\n"
     "    kpd eval ann keyphrases.kpi items.npy --threads 1"},
    {"An invented shop", "simulate", run_simulate, 0, 1, "-o --items --queries --seed --world --placebo --force",
     "an invented shop: titles, keyphrases, clicks, labels, the truth",
     "simulate [SHOP.ini] -o DIR [--items N] [--queries N] [--seed S] [--world 0..6]\n"
     "             [--placebo none|shuffled|truth] [--force]",
     "Makes an invented shop whose truth is known: N (6000) items, N (4000) queries, a search engine, clicks, an LLM. Writes\n"
     "items.tsv, test_items.tsv: title TAB category; keyphrases.tsv: id TAB keyphrase; keyphrases.txt: these alone, in the\n"
     "order of ids; ctr.tsv: keyphrase TAB title TAB category of clicked pairs; sr.tsv, llm.tsv, llm_dev.tsv, llm_test.tsv,\n"
     "ctr_test.tsv, sr_test.tsv, truth_test.tsv: the same TAB label 0 or 1; tuned.tsv: the pairs of llm.tsv by an LLM tuned on\n"
     "people's labels; rated.tsv: those of llm_dev.tsv with the grades of people who see the picture, 0, 0.33, 0.67 or 1;\n"
     "sr_scored.tsv, llm_scored.tsv: the pairs of sr.tsv and llm.tsv again, TAB score 0 to 1 TAB number of the query; log.tsv:\n"
     "the first three columns TAB impressions TAB clicks, for `kpd label ctr --min-impressions 40`; purchases.tsv: TAB\n"
     "purchases; test_popularity.tsv: row TAB popularity; corpus.txt: titles and queries; shop.ini: all settings, which can be\n"
     "edited and given as SHOP.ini (a key left out has its default). `positions = 1` there: log.tsv has a row for each\n"
     "position where a pair was shown, TAB position, for `kpd label ctr --weights`. Prints what it measured. Worlds: 0 without\n"
     "bias, 1 clicks depend on position and popularity, 2 a filter, 3 (the default) both, 4 a noisier LLM, 5 more that only\n"
     "pictures show, 6 an LLM that errs by query and by attribute, not by pair. --placebo: the LLM's labels dealt anew, or the\n"
     "truth.\n\n"
     "    kpd simulate -o shop --seed 7"},
    {NULL, "simulate judge", run_judge, 1, ANY_NUMBER, "-o --by --pairs",
     "a shop's verdicts on recommendations",
     "simulate judge DIR [FILE...] [-o JUDGE.tsv] [--by truth|text|llm|tuned|sr|filter] [--pairs]",
     "Judges recommendations in the shop of `kpd simulate -o DIR`, which it makes again from DIR/shop.ini. A line is one of\n"
     "`kpd recommend` for test_items.tsv, or a row of that, from 0, TAB keyphrase. Prints row TAB keyphrase TAB score, 0 to 1\n"
     "with yes from 0.5 on, as `kpd eval auction` reads it. truth: what is so (the default); text: what title and category\n"
     "tell of it; llm, tuned: a general LLM and one tuned on people's labels; sr: the search engine's score; filter: whether\n"
     "its filter lets the pair pass, 0 or 1. With --pairs a line is keyphrase TAB title, and more does not count; prints\n"
     "keyphrase TAB title TAB category TAB score, as `kpd label agreement` reads it.\n\n"
     "    kpd recommend s.kpd - k.kpi shop/test_items.tsv -o r.tsv\n"
     "    kpd simulate judge shop r.tsv --by llm -o llm.tsv"},
    {NULL, "simulate oracle", run_oracle, 1, 1, "-o --by -k",
     "the best lists that there can be by a shop's judge",
     "simulate oracle DIR [-o LISTS.tsv] [--by truth|text|llm|tuned|sr|filter] [-k K]",
     "For each of test_items.tsv the K (10) keyphrases to which a judge of `kpd simulate judge` gives most, as `kpd recommend`\n"
     "prints them: what the figures of lists can be at best. By text it is a ceiling for whoever sees no picture. Every\n"
     "keyphrase is tried: some 2 us each.\n\n"
     "    kpd simulate oracle shop --by text -k 20 -o ceiling.tsv"},
    {NULL, "simulate sell", run_sell, 2, 2, "-o --against --threshold",
     "an A/B test of recommendations: adoption, clicks, sales",
     "simulate sell DIR LISTS.tsv[,...] [--against LISTS2.tsv[,...]] [--threshold T] [-o TABLE.tsv]",
     "What the lists of `kpd recommend` for test_items.tsv come to in the shop of `kpd simulate -o DIR`, by expectation: a\n"
     "seller adopts a keyphrase with .05 + .45 truth; what is adopted is an ad in .02 of its searches if the search engine's\n"
     "filter lets the pair pass; buyers click as on anything, a click costs .25, and a purchase brings the item's price,\n"
     "e^(3 + .7 N). Prints keyphrases listed an item; adoption, the share of them that is adopted; adopted keyphrases,\n"
     "clicks, spend and gmb an item; roas, gmb / spend; with 95 % intervals over items, and over training seeds where lists\n"
     "of several are given with commas. --against: a second system's, and the relative change, first / second - 1.\n"
     "--threshold: only what has this relevance or more is listed. Illustrative: prices and sellers are not like anybody's.\n\n"
     "    kpd simulate sell shop student.tsv --against ctr.tsv --threshold 0.5"},
    {"This machine", "bench", run_bench, 0, 2, "--tower --columns --format",
     "what this machine makes of its kernels and of a model",
     "bench [M.kpd FILE] [--tower item|keyphrase] [--columns WORDS] [--format F]",
     "Times the kernels of this machine on one thread: what its instructions can do at most, named with the types that LEVEL\n"
     "multiplies by them; how near the products of the model's matrices come to that, by rows; attention; norms. Without a\n"
     "model, those of all-MiniLM-L6-v2. Then the bi-encoder on the first 1024 lines of FILE, as `embed` reads them: the\n"
     "tokenizer; with weights of each type texts a second in batches, the median and 99th percentile of one text at a time,\n"
     "what model and session weigh, and how near the vectors are to f32's. Medians of 5 rounds, of kernels the best of 7.\n"
     "Last where the time of the batches goes: microseconds a text by stage, summed over the threads. Pin it to a core, as\n"
     "with taskset, to compare.\n\n"
     "    kpd bench minilm.kpd titles.txt --threads 2"},
};
enum { N_COMMANDS = sizeof COMMANDS / sizeof *COMMANDS };

// >>run --------------------------------------------------------------------------------------------------------------

// Arguments and options that are no files note nothing.
static void note_inputs(const job *j, const command *c) {
    bool no_input = true;
    g_n_inputs = 0;
    for (int i = 0; j->arg[i]; i++) note_input(j->arg[i], NULL);
    for (int i = 0; i < N_OPTIONS; i++) {
        const option *p = &OPTIONS[i];
        bool replaced = p->field == FIELD(earlier_lists);       // by lists, as they are brought up to date
        const char *value = is_input_option(p) && !replaced ? *(const char *const *)((const char *)&j->o + p->field) : NULL;
        if (value) note_input(value, NULL);
    }
    for (int i = 0; i < c->max_args && i < 8; i++) no_input = no_input && j->arg[i];
    if (!no_input) note_input("-", NULL);       // a text that is not given is the standard input
}

static int run(const command *c, int argc, char **argv, job *j) {
    int status = parse(c, argc, argv, j);
    kpd_simd level = (kpd_simd)j->o.simd;
    if (status) return status;
    if (!kpd_simd_available(level)) return usage("--simd %s: this machine or build lacks it", kpd_simd_name(level));
    g_quiet = j->o.quiet != 0;
    note_inputs(j, c);
    status = c->run(j);
    if (!status && !stdout_ok()) status = BAD_DATA;
    end_progress_line();
    if (!status && j->o.stats) print_stats(j);
    return status;
}

static bool asks_for_help(int argc, char **argv) {
    for (int i = 0; i < argc && strcmp(argv[i], "--"); i++)
        if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "--help")) return true;
    return false;
}

// Help of what argv begins with: a command, the parts of a family, or, where that is neither, all.
static int help(int argc, char **argv) {
    int n_words;
    const command *c = find_command(COMMANDS, N_COMMANDS, argc, argv, &n_words);
    if (argc == 0 || argv[0][0] == '-') help_all(COMMANDS, N_COMMANDS);
    else if (c) help_command(c);
    else if (help_has_parts(COMMANDS, N_COMMANDS, argv[0]) && (argc == 1 || argv[1][0] == '-'))
        help_parts(stdout, COMMANDS, N_COMMANDS, argv[0]);
    else return unknown_command(COMMANDS, N_COMMANDS, argc, argv);
    if (c && c->run == run_train) recipe_help(stdout);
    return stdout_ok() ? DONE : BAD_DATA;
}

// `kpd help`, with what is made of the same tables for other programs.
static int run_help(int argc, char **argv) {
    if (argc == 1 && !strcmp(argv[0], "--man")) help_man(COMMANDS, N_COMMANDS);
    else if (argc == 2 && !strcmp(argv[0], "--completion") && !strcmp(argv[1], "bash")) help_bash(COMMANDS, N_COMMANDS);
    else if (argc == 2 && !strcmp(argv[0], "--completion") && !strcmp(argv[1], "zsh")) help_zsh(COMMANDS, N_COMMANDS);
    else if (argc && argv[0][0] == '-' && !asks_for_help(argc, argv))
        return usage("help: expected a command, --man, --completion bash or --completion zsh");
    else return help(argc, argv);
    return stdout_ok() ? DONE : BAD_DATA;
}

static int run_command(int argc, char **argv) {
    job j;                              // some 40 KB
    int n_words, status;
    const command *c = find_command(COMMANDS, N_COMMANDS, argc - 1, argv + 1, &n_words);
    if (asks_for_help(argc - 1, argv + 1)) return help(argc - 1, argv + 1);
    if (!c && argc == 2 && help_has_parts(COMMANDS, N_COMMANDS, argv[1])) {
        help_parts(stderr, COMMANDS, N_COMMANDS, argv[1]);
        return BAD_USAGE;
    }
    if (!c) return unknown_command(COMMANDS, N_COMMANDS, argc - 1, argv + 1);
    job_begin(&j, argv[0]);
    j.command = run_command;
    j.commands = COMMANDS;
    j.n_commands = N_COMMANDS;
    status = run(c, argc - 1 - n_words, argv + 1 + n_words, &j);
    job_close(&j);
    return status;
}

int main(int argc, char **argv) {
    if (argc < 2) return usage("a command is missing; `kpd help` lists them");
    if (!strcmp(argv[1], "help")) return run_help(argc - 2, argv + 2);
    if (!strcmp(argv[1], "--version")) return puts("kpd " KPD_VERSION), DONE;
    files_catch(files_interrupted);
    return run_command(argc, argv);
}
