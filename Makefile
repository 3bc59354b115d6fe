# kpd: make builds build/kpd and the examples. Plain make; CC=gcc or CC=clang; nothing is configured or installed.
#
#   make            the command line and the examples       make bits     one hash over compilers, levels, threads, batches
#   make test       all tests; ends with N passed, N failed  make cross    the tests as aarch64 code under qemu
#   make demo       the whole job, trained, in two minutes    make fuzz     the readers under libFuzzer, FUZZ_SECONDS=60 each
#   make paper      the paper's tables, SEEDS=1 WORLD=0 STUDENTS="ctr llm+ctr llm+ctr+kd"; paper-more, -tuning, -real, -million: see bench/paper
#   make warn       every warning, C and C++, all options    make bench    kernels, tokenizer, a training step, timed
#   make asan tsan  the tests under the sanitizers           make test-real, make bench-peers: need KPD_MODELS, see README
#   make cblas      KPD_CBLAS against the default; needs a BLAS with cblas.h, BLAS=-lblas
#   make install    PREFIX=/usr/local DESTDIR= LIB=lib: headers, kpd, libkpd.so, libkpd.a, pkg-config and CMake files
#   make machines   kernels and hashes as AMX, AVX-512 VNNI and AVX-VNNI code in Bochs; needs KPD_BOCHS and KPD_KERNEL
#   make i386       the tests as 32-bit code; make wasm in node, make mingw in wine. ONLY="kernels file": these suites alone

CC ?= cc
CXX ?= c++
CFLAGS ?= -O2
STD = -std=c99
WARN = -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wdouble-promotion -Wundef
LIBS = -lm -pthread
B = build
PROCESSORS = $(shell nproc 2>/dev/null || echo 1)
ifeq ($(MAKELEVEL),0)   # the others share its jobs
MAKEFLAGS += -j$(PROCESSORS)
endif

EXAMPLES = $(patsubst examples/%.c,$(B)/%,$(wildcard examples/[0-9]*.c))
# Where there is a C++ compiler, which only the tests need.
EXAMPLES_CXX = $(if $(shell command -v $(CXX)),$(patsubst examples/%.cc,$(B)/%,$(wildcard examples/[0-9]*.cc)))
PROGRAMS = tests/tokenize_hex.c tests/catalogue.c
TESTS = $(patsubst tests/%.c,$(B)/tests.d/%.o,$(filter-out $(PROGRAMS),$(wildcard tests/*.c))) \
        $(patsubst tests/%.cc,$(B)/tests.d/%.o,$(wildcard tests/*.cc))

.PHONY: all install uninstall test demo paper paper-words paper-begin paper-more paper-tuning paper-real paper-million
.PHONY: warn asan tsan cblas bits cross i386 wasm mingw machines fuzz bench asan_tests asan_cli bench-peers test-real clean
all: $(B)/kpd $(EXAMPLES) $(EXAMPLES_CXX)

$(B)/kpd.o: tools/kpd_impl.c tools/kernels.h kpd.h kpd_train.h
	@mkdir -p $(B)
	$(CC) $(STD) $(WARN) $(CFLAGS) -c -o $@ $<
$(B)/kpd: tools/kpd.c $(wildcard tools/*.h) kpd.h kpd_train.h $(B)/kpd.o
	$(CC) $(STD) $(WARN) $(CFLAGS) -o $@ $< $(B)/kpd.o $(LIBS)
# Each makes its own implementation where it is compiled alone; here they share one, since it takes half a minute.
SHARED = -DKPD__IMPLEMENTED -DKPD__TRAIN_IMPLEMENTED
$(EXAMPLES): $(B)/%: examples/%.c examples/tiny.h $(B)/kpd.o
	$(CC) $(STD) $(WARN) $(SHARED) -O1 -o $@ $< $(B)/kpd.o $(LIBS)
$(EXAMPLES_CXX): $(B)/%: examples/%.cc examples/tiny.h kpd.h $(B)/kpd.o
	$(CXX) -std=c++11 $(WARN) -O1 -o $@ $< $(B)/kpd.o $(LIBS)

# The headers as a library: the functions that they declare, and nothing else. Its version in names of files and symbols is
# KPD_ABI, since what was compiled for another must not run with it.
VERSION = $(shell sed -n 's/^\#define KPD_VERSION "\(.*\)"/\1/p' kpd.h)
ABI = $(shell sed -n 's/^\#define KPD_ABI //p' kpd.h)
LIBRARY = -fPIC -fvisibility=hidden -D'KPDDEF=extern __attribute__((visibility("default")))' -D_POSIX_C_SOURCE=200809L \
          -DKPD_IMPLEMENTATION -DKPD_TRAIN_IMPLEMENTATION -DKPD_THREADS
FILLED = sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIB@|$(LIB)|' -e 's|@VERSION@|$(VERSION)|' -e 's|@ABI@|$(ABI)|' \
         -e 's|@UP@|$(shell echo $(LIB)/cmake/kpd | sed 's|[^/][^/]*|..|g')|'
$(B)/libkpd.o: kpd.h kpd_train.h
	@mkdir -p $(B)
	$(CC) $(STD) $(WARN) $(CFLAGS) $(LIBRARY) -x c -c -o $@ kpd_train.h
$(B)/libkpd.a: $(B)/libkpd.o
	$(AR) rcs $@ $<
$(B)/libkpd.so: $(B)/libkpd.o tools/install/kpd.map
	$(FILLED) tools/install/kpd.map > $(B)/kpd.map
	$(CC) $(CFLAGS) -shared -Wl,-soname,libkpd.so.$(ABI) -Wl,--version-script=$(B)/kpd.map -o $@ $(B)/libkpd.o $(LIBS)
# The Python package's, of the same object; `pip install examples/python` compiles its own.
$(B)/python/_kpd.so: examples/python/kpd/_library.c $(wildcard tools/*.h) $(B)/libkpd.o
	@mkdir -p $(B)/python
	$(CC) $(STD) $(WARN) $(CFLAGS) -DKPD_PYTHON_LINKED -fPIC -fvisibility=hidden -I. -shared -o $@ $< $(B)/libkpd.o $(LIBS)

PREFIX ?= /usr/local
LIB ?= lib
DIR = $(DESTDIR)$(PREFIX)
install: $(B)/kpd $(B)/libkpd.so $(B)/libkpd.a
	install -d $(DIR)/bin $(DIR)/include $(DIR)/$(LIB)/pkgconfig $(DIR)/$(LIB)/cmake/kpd
	install $(B)/kpd $(DIR)/bin
	install -d $(DIR)/share/man/man1 $(DIR)/share/bash-completion/completions $(DIR)/share/zsh/site-functions
	$(B)/kpd help --man > $(DIR)/share/man/man1/kpd.1
	$(B)/kpd help --completion bash > $(DIR)/share/bash-completion/completions/kpd
	$(B)/kpd help --completion zsh > $(DIR)/share/zsh/site-functions/_kpd
	install -m 644 kpd.h kpd_train.h $(DIR)/include
	install $(B)/libkpd.so $(DIR)/$(LIB)/libkpd.so.$(ABI)
	ln -sf libkpd.so.$(ABI) $(DIR)/$(LIB)/libkpd.so
	install -m 644 $(B)/libkpd.a $(DIR)/$(LIB)
	$(FILLED) tools/install/kpd.pc.in > $(DIR)/$(LIB)/pkgconfig/kpd.pc
	$(FILLED) tools/install/kpd-config.cmake.in > $(DIR)/$(LIB)/cmake/kpd/kpd-config.cmake
	$(FILLED) tools/install/kpd-config-version.cmake.in > $(DIR)/$(LIB)/cmake/kpd/kpd-config-version.cmake
uninstall:
	rm -f $(DIR)/bin/kpd $(DIR)/include/kpd.h $(DIR)/include/kpd_train.h $(DIR)/$(LIB)/libkpd.* $(DIR)/$(LIB)/pkgconfig/kpd.pc
	rm -f $(DIR)/share/man/man1/kpd.1 $(DIR)/share/bash-completion/completions/kpd $(DIR)/share/zsh/site-functions/_kpd
	rm -rf $(DIR)/$(LIB)/cmake/kpd

HEADERS = kpd.h kpd_train.h $(addprefix tests/,test.h golden_lines.h tiny_data.h tiny_model.h) tools/files.h tools/hf.h tools/npy.h
$(B)/tests.d/%.o: tests/%.c $(HEADERS)
	@mkdir -p $(B)/tests.d
	$(CC) $(STD) $(WARN) $(CFLAGS) $(OWN) -Itests -c -o $@ $<
# These have a copy of the implementation each. COPY and SCALAR are the sanitizers', with which a copy takes a minute: what they
# leave out is checked in kpd.o, and the kernels of every level are there and in test_kernels.c.
$(B)/tests.d/test_kernels.o: OWN = $(COPY)
$(addprefix $(B)/tests.d/test_,convert.o layers.o): OWN = $(COPY) $(SCALAR)
$(B)/tests.d/test_shop.o: tools/shop.h
# Levels that this machine lacks, instruction by instruction in C: on x86-64 only, and only where there is AVX2 beneath. Given
# CFLAGS hide these flags and leave the suites empty, as under the sanitizers, with which they would take minutes. -O1 compiles
# in half the time.
EMULATED = $(B)/tests.d/test_kernels_emulated.o $(B)/tests.d/test_convert_emulated.o
$(EMULATED): tests/test_kernels.c tests/test_convert.c tests/emulate_x86.h
$(EMULATED): CFLAGS += $(shell $(CC) -dumpmachine | grep -q x86_64 && grep -q avx2 /proc/cpuinfo && echo -mavx2 -mfma) -O1
$(B)/tests.d/%.o: tests/%.cc tests/test.h kpd.h
	@mkdir -p $(B)/tests.d
	$(CXX) -std=c++11 $(WARN) -O1 -Itests -c -o $@ $<
$(B)/tests: $(B)/kpd.o $(TESTS)    # what takes longest first
	$(CXX) $(CFLAGS) -o $@ $^ $(LIBS)

# Suites alone, as ONLY="kernels file" names them: where the others would not be run, compiling them takes most of the time.
$(B)/some: $(patsubst %,$(B)/tests.d/test_%.o,$(ONLY)) $(B)/tests.d/golden_lines.o $(B)/tests.d/tiny_model.o $(B)/kpd.o
	$(CC) $(STD) $(WARN) $(CFLAGS) -Itests -D'SUITES(X)=$(patsubst %,X(%),$(ONLY))' -c -o $(B)/tests.d/some.o tests/main.c
	$(CXX) $(CFLAGS) -o $@ $(B)/tests.d/some.o $^ $(LIBS)
CHOSEN = $(if $(ONLY),some,tests)
.PHONY: $(B)/some

$(B)/catalogue: tests/catalogue.c examples/tiny.h kpd.h $(B)/kpd.o
	$(CC) $(STD) $(WARN) $(CFLAGS) -o $@ $< $(B)/kpd.o $(LIBS)

test: $(B)/tests $(B)/kpd $(B)/catalogue $(B)/libkpd.so $(B)/libkpd.a $(B)/python/_kpd.so $(EXAMPLES) $(EXAMPLES_CXX)
	@sh tests/run.sh $(B)

demo: $(B)/kpd
	$(B)/kpd demo $(B)/demo --force

SEEDS ?= 1 2 3 4 5
STEPS ?= 4219
JOBS ?= $(PROCESSORS)
WORLD ?= 3
P = $(B)/paper$(if $(filter-out 3,$(WORLD)),.world$(WORLD))
# Of the labels' students; ctr, from which negatives are mined, llm+ctr, and llm+ctr+kd, with which others are compared, must be
# there.
SOME = $(foreach t,students table1 table2,--set $t="$(STUDENTS)") --set reference=$(lastword $(STUDENTS))
PAPER = $(B)/kpd run bench/paper/paper.ini --dir $P --jobs $(JOBS) --set seeds="$(SEEDS)" --set steps=$(STEPS) \
        --set world=$(WORLD) $(if $(STUDENTS),$(SOME))
paper: paper-words
	$(PAPER)
	python3 bench/paper/tables.py $P $(STUDENTS)
# The shop, and what is made of its titles by no stage.
paper-words: $(B)/kpd
	$(PAPER) --only shop
	python3 bench/paper/words_of_titles.py $P/shop/items.tsv > $P/made.tmp && mv $P/made.tmp $P/words.tsv
# Up to the assistant's scores, from which losses learn.
paper-begin: paper-words
	$(PAPER) --only group
# Beside what make paper left, of seeds that it had: what students begin with, where negatives come from, weighted clicks, other
# labels, and what options do.
MORE = --jobs $(JOBS) --set seeds="$(SEEDS)" --set steps=$(STEPS)
paper-more: $(B)/kpd
	mkdir -p $(addprefix $P/,bases negatives clicks labels sensitivity)
	$(B)/kpd run bench/paper/bases.ini --dir $P/bases $(MORE)
	$(B)/kpd run bench/paper/negatives.ini --dir $P/negatives $(MORE) --set round=$$((($(STEPS) + 2) / 3))
	$(B)/kpd run bench/paper/clicks.ini --dir $P/clicks $(MORE) --set world=$(WORLD)
	$(B)/kpd run bench/paper/labels.ini --dir $P/labels $(MORE) --set world=$(WORLD)
	$(B)/kpd run bench/paper/sensitivity.ini --dir $P/sensitivity $(MORE) \
	    --set twice=$$((2 * $(STEPS))) --set half=$$((($(STEPS) + 1) / 2))
	python3 bench/paper/tables.py $P
# Likewise: losses with the options that trials in world 4 chose, which are made first.
TUNING = $(B)/kpd run bench/paper/tuning.ini --jobs $(JOBS) --set steps=$(STEPS)
paper-tuning: $(B)/kpd
	$(MAKE) paper-begin WORLD=4 SEEDS=1 STUDENTS=
	mkdir -p $(B)/paper.world4/tuning $P/tuning
	$(TUNING) --dir $(B)/paper.world4/tuning --set seeds=1 --only trial-pairs
	$(TUNING) --dir $P/tuning --set seeds="$(SEEDS)" --only pairs --only pairs-truth --only gain
	python3 bench/paper/tables.py --tuning $(B)/paper.world4/tuning $P/tuning
# A million items, by models that make paper left.
paper-million: $(B)/kpd
	mkdir -p $P/million
	$(B)/kpd run bench/paper/million.ini --dir $P/million
# Of judged pairs that are not in the tree, by a model that is neither.
R = $(B)/real
paper-real: SEEDS = 1 2 3
paper-real: STEPS = 200
paper-real: $(B)/kpd
	@[ -n "$(KPD_DATA)" ] && [ -n "$(KPD_MODELS)" ] || { \
	    echo "make $@ needs KPD_DATA, a folder with items.tsv, train.tsv, dev.tsv, and KPD_MODELS, one with all-MiniLM-L6-v2"; exit 1; }
	mkdir -p $R
	python3 bench/paper/real_parts.py "$(KPD_DATA)" $R $$((8 * $(STEPS)))
	$(B)/kpd import "$(KPD_MODELS)/all-MiniLM-L6-v2" -o $R/start.kpd --template-item '{title} {sep} {category}' --max-tokens 64
	$(B)/kpd run bench/paper/real.ini --dir $R $(MORE) --set assistant_steps=$$((25 * $(STEPS) / 8))
	python3 bench/paper/tables.py $R

# The library, tools, tests and examples with each compiler and standard, and the library with each option on and off.
warn:
	@sh tests/warn.sh "$(WARN) -Werror"

# The library as C++, whose enums may hold no other values than theirs.
$(B)/tests_cpp: tools/kpd_impl.c tools/kernels.h kpd.h kpd_train.h $(TESTS)
	$(CXX) -x c++ -std=c++17 $(CFLAGS) $(COPY) -DKPD_NO_SIMD -c -o $(B)/kpd_cpp.o $<
	$(CXX) $(CFLAGS) -o $@ $(TESTS) $(B)/kpd_cpp.o $(LIBS)
SANITIZER = $(shell command -v clang >/dev/null && echo CC=clang CXX=clang++)   # gcc takes minutes over the same code
asan:
	$(MAKE) B=$(B)/asan $(SANITIZER) CFLAGS="-O1 -g1 -fsanitize=address,undefined -fno-sanitize-recover=all" \
	    COPY=-fno-sanitize=alignment,null,object-size,pointer-overflow SCALAR=-DKPD_NO_SIMD \
	    $(addprefix $(B)/asan/,tests tests_cpp kpd catalogue)
	@mkdir -p $(B)/tmp
	@export ASAN_OPTIONS=allocator_may_return_null=1 && $(MAKE) -Otarget --no-print-directory asan_tests asan_cli
asan_tests:
	@$(B)/asan/tests && $(B)/asan/tests_cpp --filter=file.
asan_cli:
	@sh tests/cli.sh $(B)/asan/kpd
THREADED = $(patsubst tests/test_%.c,%,$(shell grep -l 'RUN.*thread' tests/test_*.c))
tsan:
	$(MAKE) B=$(B)/tsan $(SANITIZER) CFLAGS="-O1 -g1 -fsanitize=thread" SCALAR=-DKPD_NO_SIMD ONLY="$(THREADED)" $(B)/tsan/some
	@mkdir -p $(B)/tmp && $(B)/tsan/some --filter=thread

BLAS ?= -lblas
$(B)/cblas_dw: tests/cblas/dw.c kpd.h kpd_train.h
	@mkdir -p $(B)
	$(CC) -std=c11 $(WARN) $(CFLAGS) -o $@ $< $(BLAS) $(LIBS)
cblas: $(B)/cblas_dw
	OPENBLAS_NUM_THREADS=1 $(B)/cblas_dw

bits:
	@sh tests/bits.sh "$(WARN) -Werror"
# As code of other machines: on the web without threads, on Windows without the command line, which is written for POSIX.
NEEDS = @{ $(1); } > /dev/null 2>&1 || { echo "make $@ needs $(2)"; exit 1; }
# -idirafter: where gcc-multilib, which cannot be beside a cross compiler, would have a link.
SSE = -m32 -msse2 -mfpmath=sse -idirafter /usr/include/x86_64-linux-gnu
i386:
	$(call NEEDS,echo 'int main(void) { return 0; }' | g++ $(SSE) -x c++ -o /dev/null -,gcc-multilib g++-multilib)
	$(MAKE) B=$(B)/i386 CC="gcc $(SSE)" CXX="g++ $(SSE)" CFLAGS="$(CFLAGS)" $(addprefix $(B)/i386/,$(CHOSEN) kpd)
	@mkdir -p $(B)/tmp && $(B)/i386/$(CHOSEN)
WASM = -s WASM_ASYNC_COMPILATION=0 -s NODERAWFS=1 -s INITIAL_MEMORY=256MB -s ALLOW_MEMORY_GROWTH=1 -s TOTAL_STACK=8MB \
       -s EXIT_RUNTIME=1
UNTHREADED = $(filter-out %_emulated embed_in_hosts,$(patsubst tests/test_%.c,%,$(shell grep -L kpd_pool_create \
             tests/test_*.c)))
wasm:
	$(call NEEDS,command -v emcc && command -v node,emscripten nodejs node-acorn)
	NODE_PATH=/usr/share/nodejs $(MAKE) B=$(B)/wasm CC=emcc CXX=em++ CFLAGS="$(CFLAGS)" LIBS="-lm $(WASM)" \
	    ONLY="$(or $(ONLY),$(UNTHREADED))" $(B)/wasm/some
	@mkdir -p $(B)/tmp && node $(B)/wasm/some
	NODE_PATH=/usr/share/nodejs emcc -O2 -o $(B)/wasm/bits.js tests/bits/bits.c -lm $(WASM) && node $(B)/wasm/bits.js
mingw:
	$(call NEEDS,command -v x86_64-w64-mingw32-g++ && command -v wine,gcc-mingw-w64-x86-64 g++-mingw-w64-x86-64 wine wine64)
	$(MAKE) B=$(B)/mingw CC=x86_64-w64-mingw32-gcc CXX=x86_64-w64-mingw32-g++ CFLAGS="$(CFLAGS)" LIBS="-lm -lpthread -static" \
	    $(B)/mingw/$(CHOSEN)
	@mkdir -p $(B)/tmp && WINEDEBUG=-all wine $(B)/mingw/$(CHOSEN).exe
cross:
	$(MAKE) B=$(B)/arm CC=aarch64-linux-gnu-gcc CXX=aarch64-linux-gnu-g++ $(B)/arm/$(CHOSEN)
	@mkdir -p $(B)/tmp && qemu-aarch64 -L /usr/aarch64-linux-gnu $(B)/arm/$(CHOSEN)
$(B)/static/bits: tests/bits/bits.c kpd.h kpd_train.h
	@mkdir -p $(B)/static
	$(CC) -O2 -static -DFIRST_LEVEL=KPD_SIMD_AVX2 -o $@ $< $(LIBS)
$(B)/static/bits_emulated: tests/bits/bits.c tests/emulate_x86.h kpd.h kpd_train.h
	@mkdir -p $(B)/static
	$(CC) -O2 -mavx2 -mfma -DKPD__EMULATED -DFIRST_LEVEL=KPD_SIMD_AVX512BF16 -include tests/emulate_x86.h -o $@ $< $(LIBS)
machines: $(B)/static/bits $(B)/static/bits_emulated
	$(MAKE) B=$(B)/static CFLAGS="-O2 -static" $(B)/static/tests
	@sh tests/emulated_machine.sh $(B)/static

FUZZ_SECONDS ?= 60
$(B)/fuzz_%: tests/fuzz/%.c $(wildcard tests/fuzz/*.h) kpd.h
	@mkdir -p $(B)
	clang -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -o $@ $< -lm
$(B)/fuzz_hf: tools/hf.h tools/files.h
$(B)/fuzz_dataset $(B)/fuzz_checkpoint $(B)/fuzz_recipe: kpd_train.h
$(B)/fuzz_recipe: tools/recipe.h tools/files.h tools/table.h
$(B)/fuzz_shop: tools/shop.h
$(B)/fuzz_table: tools/table.h
fuzz: $(patsubst tests/fuzz/%.c,$(B)/fuzz_%,$(wildcard tests/fuzz/*.c)) $(B)/tests
	@mkdir -p $(B)/tmp $(B)/corpus/model && $(B)/tests --filter=file > $(B)/tmp/seeds.log
	@for f in $(B)/tmp/*.kp[di]; do [ ! -f $$f ] || cp $$f $(B)/corpus/model || exit 1; done   # one is a folder
	@for f in $(filter $(B)/fuzz_%,$^); do echo $$f; c=$(B)/corpus/$${f##*/fuzz_}; mkdir -p $$c; \
	    $$f -max_total_time=$(FUZZ_SECONDS) -max_len=20000 -verbosity=0 -print_final_stats=1 $$c || exit 1; done

$(B)/bench_%: bench/bench_%.c kpd.h kpd_train.h
	@mkdir -p $(B)
	$(CC) $(STD) $(WARN) -O3 -o $@ $< $(LIBS)
bench: $(patsubst bench/%.c,$(B)/%,$(wildcard bench/bench_*.c)) $(B)/kpd
	$(B)/kpd bench
	@for f in $(filter $(B)/bench_%,$^); do $$f || exit 1; done
bench-peers: $(B)/kpd
	python3 bench/peers/embed.py
test-real: $(B)/kpd
	python3 bench/peers/identity.py && python3 bench/peers/tokenizer_identity.py

clean:
	rm -rf $(B)
