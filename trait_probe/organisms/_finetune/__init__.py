"""The parts of `organisms.finetune`: data, matching, settings, training, folders."""
