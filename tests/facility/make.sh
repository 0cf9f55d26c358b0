# make: parallel, recursive, pattern rules, functions that run shells, a failing target
mkdir sub; printf 'all: a.o b.o c.o | sub\n\t$(MAKE) -C sub\n\t@echo $(shell echo from a shell) $(wildcard *.x) $(sort $(notdir $(CURDIR)))\n%%.o: %%.x\n\t@cp $< $@\n\t@echo made $@ >>log\nfails:\n\t@exit 3\n' >Makefile; printf 'all:\n\t@echo below $(MAKELEVEL)\n' >sub/Makefile
touch a.x b.x c.x; make -j4 --no-print-directory | sed 's/make\[.*/&/'; sort log; make --no-print-directory; make -q a.o; echo $?; make fails; echo $?; make -n -B >plan; head -n 3 plan
