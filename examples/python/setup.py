"""Builds one shared library from the headers; no Python header is needed, and a wheel serves every Python 3 of its platform."""
import os
import shutil

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

HERE = os.path.dirname(os.path.abspath(__file__))
COPY = "source"                 # where a source archive has the headers; in the repository they are two folders up


def root():
    copied = os.path.join(HERE, COPY)
    return copied if os.path.isdir(copied) else os.path.dirname(os.path.dirname(HERE))


def headers():
    """As root() has them: the library's, and those of the tools, which include each other."""
    tools = sorted(name for name in os.listdir(os.path.join(root(), "tools")) if name.endswith(".h"))
    return ["kpd.h", "kpd_train.h"] + [os.path.join("tools", name) for name in tools]


class Library(build_ext):
    def get_ext_filename(self, fullname):
        return os.path.join(*fullname.split(".")) + ".so"

    def get_export_symbols(self, ext):
        return ext.export_symbols


class Wheel(bdist_wheel):
    def get_tag(self):
        return ("py3", "none", super().get_tag()[2])


class Source(sdist):
    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        for header in headers():
            target = os.path.join(base_dir, COPY, header)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy(os.path.join(root(), header), target)


setup(
    ext_modules=[Extension("kpd._kpd", ["kpd/_library.c"], include_dirs=[root()], libraries=["m"],
                           depends=[os.path.join(root(), header) for header in headers()],
                           extra_compile_args=["-std=c99", "-O2", "-fvisibility=hidden"], extra_link_args=["-pthread"])],
    cmdclass={"build_ext": Library, "bdist_wheel": Wheel, "sdist": Source},
)
