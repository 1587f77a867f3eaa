"""What values of options are called in help; tyro's own words for lists would be [STR [STR ...]]."""

from __future__ import annotations

import tyro

Name = tyro.conf.arg(metavar="NAME")
File = tyro.conf.arg(metavar="FILE")
Folder = tyro.conf.arg(metavar="DIR")
Levels = tyro.conf.arg(metavar="COLUMN[,COLUMN ...]")
Percentiles = tyro.conf.arg(metavar="LOW,HIGH")
RunFolder = tyro.conf.arg(metavar="RUN")
Paths = tyro.conf.arg(metavar="PATH [PATH ...]", help_behavior_hint="")
Columns = tyro.conf.arg(metavar="COLUMN [COLUMN ...]", help_behavior_hint="")
Codes = tyro.conf.arg(metavar="CODE [CODE ...]", help_behavior_hint="")
Ids = tyro.conf.arg(metavar="ID [ID ...]", help_behavior_hint="")
Templates = tyro.conf.arg(metavar="TEXT [TEXT ...]", help_behavior_hint="")
Names = tyro.conf.arg(metavar="NAME [NAME ...]", help_behavior_hint="")
