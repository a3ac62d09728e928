import json, os, sqlite3, sys, urllib.parse

path = os.path.abspath(sys.argv[1])
try:
    db = sqlite3.connect("file:" + urllib.parse.quote(path) + "?mode=ro", uri=True)
    db.text_factory = lambda b: b.decode(errors="replace")
    for table in "bips", "bans":
        have = [c[1] for c in db.execute("PRAGMA table_info(%s)" % table)]
        names = [n for n in ("ip", "jail", "timeofban", "bantime", "bancount") if n in have]
        if names:
            break
    else:
        sys.exit("it has no table of bans")
    for row in db.execute("SELECT %s FROM %s" % (", ".join(names), table)):
        print(json.dumps({n: v for n, v in zip(names, row) if n in ("ip", "jail") and isinstance(v, str) or n not in ("ip", "jail") and isinstance(v, (int, float)) and abs(v) < 1e18}))
except sqlite3.Error as e:
    sys.exit(str(e))
