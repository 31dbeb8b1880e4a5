"""`fer-hailo run --doctor`: what a board has, what it lacks, and the one thing to do about each lack.

Facts are gathered (*_facts.py), findings derived from them (hailo.py, host.py, model.py), and printed
(report.py): each step knows only the one before. Nothing is changed on the machine, and no network is loaded.
"""
