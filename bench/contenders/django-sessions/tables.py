"""Makes the tables."""

import os

import django
from django.core.management import call_command

if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
    django.setup()
    call_command("migrate", verbosity=0)  # first what our own table refers to
    call_command("migrate", run_syncdb=True, verbosity=0)
