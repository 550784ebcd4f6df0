"""The numbers behind what is shown: plain tables that terminal, dashboard and report all read."""
