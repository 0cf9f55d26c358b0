# git: init, branch, merge, rebase, stash, pack, clone, fetch; hooks and an editor
export GIT_AUTHOR_DATE='1600000000 +0000' GIT_COMMITTER_DATE='1600000000 +0000' GIT_CONFIG_GLOBAL=$PWD/config GIT_EDITOR='sed -i s/^/edited:/'
git config --global user.name A; git config --global user.email a@example.org; git config --global init.defaultBranch main
git init -q r; cd r; printf '#!/bin/sh\necho a hook runs\n' >.git/hooks/pre-commit; chmod +x .git/hooks/pre-commit
for i in 1 2 3; do seq $i 50 >f$i; git add .; git commit -m "c$i"; done; git checkout -qb side HEAD~1; echo x >g; git add g; git commit -qm side
git rebase main; git checkout -q main; git merge --no-edit side; echo dirty >>f1; git stash; git stash pop; git diff --stat; git commit -qa; git log --format=%s
git gc -q; git fsck; cd ..; git clone -q r c; git -C c log --oneline --graph; git -C r commit -qm more --allow-empty; git -C c pull -q; git -C c rev-parse HEAD; git -C c grep -c 4
